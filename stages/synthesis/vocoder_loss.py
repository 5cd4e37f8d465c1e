"""What BigVGAN is trained with where there is no discriminator: log-mel and multi-resolution STFT distances.

The mel term is HiFi-GAN's (Kong et al. 2020, equation 3) on base-10 mels; the STFT terms are Parallel WaveGAN's
(Yamamoto et al. 2020, equations 4 to 6).
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.synthesis.mel import mel_spectrogram

WINDOWS = (256, 512, 1024, 2048)


def vocoder_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute log-mel error plus the STFT loss, for waveforms `[B, samples]` in [-1, 1]."""
    # A natural-logarithm mel would weigh ln(10) times as much; the factor keeps the published balance of the two terms.
    mel_error = (mel_spectrogram(predicted) - mel_spectrogram(target)).abs().mean()
    return 10 * mel_error + multi_resolution_stft_loss(predicted, target)


def multi_resolution_stft_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence plus log-magnitude error, averaged over the resolutions; waveforms `[B, samples]`."""
    total = predicted.new_zeros(())
    for window in WINDOWS:
        magnitude, wanted = _magnitude(predicted, window), _magnitude(target, window)
        convergence = torch.linalg.norm(wanted - magnitude) / torch.linalg.norm(wanted)
        log_error = (torch.log(wanted) - torch.log(magnitude)).abs().mean()
        total = total + convergence + log_error
    return total / len(WINDOWS)


def _magnitude(waveform: Tensor, window: int) -> Tensor:
    """Magnitude `[B, window / 2 + 1, frames]`, at least 10^-3.5 so that silence has a logarithm."""
    hann = torch.hann_window(window, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(waveform, window, window // 4, window=hann, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return torch.sqrt(power.clamp(min=1e-7))
