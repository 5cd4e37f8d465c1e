"""What the codec is trained with where there is no discriminator: errors of the mel and of spectra of four windows.

The absolute mel error is HiFi-GAN's (Kong et al. 2020, equation 3) on base-10 mels. Alone it would teach tones last: a
tone fills few bands, and an absolute error weighs its loss like the noise that no codec can follow. The squared error
weighs it by how far it is off.

The logarithmic magnitude term is Parallel WaveGAN's (Yamamoto et al. 2020, equation 6). The last compares the square
roots of magnitudes (power-law compression, as in Braun and Tashev 2020, "A consolidated view of loss functions for
supervised deep learning-based speech enhancement"): logarithms give a faint bin the weight of a loud one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.synthesis.mel import mel_spectrogram

SQUARED_WEIGHT = 4.0
SPECTRAL_WEIGHT = 0.5
WINDOWS = (256, 512, 1024, 2048)
COMPRESSED_WEIGHT = 5.0
LOGARITHMIC_WEIGHT = 0.2


def mel_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error plus 4 times the mean squared error of log10 mels of one shape."""
    difference = predicted - target
    error: Tensor = difference.abs().mean() + SQUARED_WEIGHT * difference.square().mean()
    return error


def vocoder_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mel error plus half the spectral loss, for waveforms `[B, samples]` in [-1, 1]."""
    error = mel_error(mel_spectrogram(predicted), mel_spectrogram(target))
    return error + SPECTRAL_WEIGHT * multi_resolution_spectral_loss(predicted, target)


def multi_resolution_spectral_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Compressed and logarithmic magnitude errors, averaged over the windows; waveforms `[B, samples]`.

    The compressed error is relative to the batch's mean magnitude, so that it has no unit.
    """
    total = predicted.new_zeros(())
    for window in WINDOWS:
        magnitude, wanted = _magnitude(predicted, window), _magnitude(target, window)
        compressed_error = (wanted.sqrt() - magnitude.sqrt()).square().mean() / wanted.mean()
        log_error = (torch.log(wanted) - torch.log(magnitude)).abs().mean()
        total = total + COMPRESSED_WEIGHT * compressed_error + LOGARITHMIC_WEIGHT * log_error
    return total / len(WINDOWS)


def _magnitude(waveform: Tensor, window: int) -> Tensor:
    """Magnitude `[B, window / 2 + 1, frames]`, at least 10^-3.5 so that silence has a logarithm."""
    hann = torch.hann_window(window, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(waveform, window, window // 4, window=hann, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return torch.sqrt(power.clamp(min=1e-7))
