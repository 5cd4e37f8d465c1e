"""The codec's training losses: no error for the same sound, and a tone that is missing counts."""

import torch

from stages.synthesis.codec_losses import mel_error, vocoder_loss

TIME = torch.arange(8192) / 16_000


def noise(seed):
    return 0.002 * torch.randn(1, 8192, generator=torch.Generator().manual_seed(seed))


def tone(phase=0.0):
    return 0.1 * torch.sin(2 * torch.pi * 3000 * TIME + phase)[None]


def test_the_same_sound_has_no_error():
    clip = tone() + noise(0)
    assert float(vocoder_loss(clip, clip)) == 0


def test_phase_hardly_counts_and_a_missing_tone_does():
    target = tone() + noise(0)
    shifted = float(vocoder_loss(tone(1.7) + noise(1), target))
    missing = float(vocoder_loss(noise(1), target))
    assert missing > 4 * shifted


def test_silence_has_finite_gradients():
    silent = torch.zeros(2, 8192, requires_grad=True)
    vocoder_loss(silent, (tone() + noise(0)).repeat(2, 1)).backward()
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()


def test_a_line_that_is_missing_costs_more_than_noise_of_the_same_absolute_error():
    target = torch.zeros(1, 80, 20)
    line = target.clone()
    line[:, 40] = 1.6
    noise = torch.full_like(target, 0.02)
    assert torch.isclose(line.abs().mean(), noise.abs().mean())
    assert float(mel_error(line, target)) > 3 * float(mel_error(noise, target))
    assert float(mel_error(target, target)) == 0
