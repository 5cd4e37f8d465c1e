from pathlib import Path

import numpy as np
import pytest
import torch

from stages.synthesis.mel import mel_filterbank, mel_spectrogram

GOLDEN = np.load(Path(__file__).parent / "golden" / "maa_mel.npz")


def test_mel_agrees_with_make_an_audio():
    mel = mel_spectrogram(torch.from_numpy(GOLDEN["wav"])[None])[0].numpy()
    assert mel.shape == GOLDEN["mel_log10"].shape
    np.testing.assert_allclose(mel, GOLDEN["mel_log10"], rtol=1e-4, atol=1e-4)


def test_mel_of_a_padded_clip_agrees_with_make_an_audio():
    samples = int(GOLDEN["padded_frames"]) * 256
    padded = np.zeros(samples, dtype=np.float32)
    padded[: len(GOLDEN["wav"])] = GOLDEN["wav"]
    mel = mel_spectrogram(torch.from_numpy(padded)[None])[0].numpy()
    assert mel.shape == (80, 626)
    np.testing.assert_allclose(mel[:, :100], GOLDEN["mel_padded_first100"], rtol=1e-4, atol=1e-4)


def test_filterbank_is_slaneys():
    np.testing.assert_allclose(mel_filterbank().numpy(), GOLDEN["mel_basis_80x513"], rtol=1e-6, atol=1e-9)


def test_a_clip_of_40960_samples_has_160_frames_and_silence_is_minus_5():
    mel = mel_spectrogram(torch.zeros(2, 40960))
    assert mel.shape == (2, 80, 160)
    # The 1e-9 under the root keeps silence above the clamp in the bands that sum many bins.
    assert float(mel.min()) >= -5
    assert float(mel.max()) < -4


def test_gradients_reach_the_waveform():
    waveform = (torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)) * 0.1).requires_grad_()
    mel_spectrogram(waveform).mean().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()
    assert float(waveform.grad.abs().sum()) > 0


@pytest.mark.parametrize("shape", [(1, 384), (4096,), (1, 1, 4096)])
def test_a_waveform_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="samples"):
        mel_spectrogram(torch.zeros(shape))
