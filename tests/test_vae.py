import pytest
import torch

from stages.plumbing.model_params import Vae
from stages.synthesis.vae import build_vae, decode_latent, encode_mel

SMALL = Vae(
    channels=[8, 8, 8, 16],
    latent_channels=4,
    layers_per_block=1,
    norm_groups=4,
    kl_weight=1e-4,
    latent_deviation=1.0,
    segment_frames=32,
)


@pytest.mark.parametrize("frames", [64, 160])
def test_a_mel_becomes_a_latent_an_eighth_as_wide_and_comes_back(frames):
    torch.manual_seed(0)
    vae = build_vae(SMALL).eval()
    mel = torch.randn(2, 80, frames)
    with torch.no_grad():
        latents = encode_mel(vae, mel)
        assert latents.shape == (2, 4, 10, frames // 8)
        assert torch.equal(latents, encode_mel(vae, mel))
        assert decode_latent(vae, latents).shape == mel.shape


def test_vae_learns_to_reproduce_a_mel():
    torch.manual_seed(0)
    vae = build_vae(SMALL)
    mel = torch.full((1, 80, 32), -5.0)
    mel[:, 20:40, 8:20] = 0.0
    optimizer = torch.optim.AdamW(vae.parameters(), lr=5e-3)

    def error():
        return (decode_latent(vae, encode_mel(vae, mel)) - mel).abs().mean()

    before = float(error().detach())
    for _ in range(40):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert float(error().detach()) < before / 4
