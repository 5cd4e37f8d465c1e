"""Mel spectrogram, VAE, U-Net, sampler and BigVGAN."""
