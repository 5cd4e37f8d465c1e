import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.synthesis.samplers import ddim, dpm_solver, guided, sample_latents
from stages.synthesis.schedule import MAKE_AN_AUDIO, NoiseSchedule, initial_noise
from tests.test_unet import make_an_audio_unet

GOLDEN = Path(__file__).parent / "golden"
SPREAD = 0.5


VELOCITY = NoiseSchedule("velocity", zero_terminal_snr=True)


def exact_prediction(schedule):
    """The best possible prediction for data that is normal with standard deviation SPREAD."""

    def predict(latents, timestep):
        alpha = float(schedule.alphas_cumprod()[timestep])
        variance = alpha * SPREAD**2 + 1 - alpha
        noise, clean = (math.sqrt(1 - alpha) * latents / variance, math.sqrt(alpha) * SPREAD**2 * latents / variance)
        return noise if schedule.prediction == "noise" else math.sqrt(alpha) * noise - math.sqrt(1 - alpha) * clean

    return predict


def test_schedule_is_make_an_audios():
    golden = np.load(GOLDEN / "maa_schedule.npz")
    np.testing.assert_allclose(MAKE_AN_AUDIO.alphas_cumprod().numpy(), golden["alphas_cumprod"], rtol=1e-6)


@pytest.mark.parametrize("steps", [25, 100])
def test_ddim_visits_make_an_audios_timesteps(steps):
    visited = []

    def record(latents, timestep):
        visited.append(timestep)
        return torch.zeros_like(latents)

    ddim(MAKE_AN_AUDIO, record, torch.zeros(1, 4, 10, 16), steps)
    assert visited[::-1] == np.load(GOLDEN / "maa_schedule.npz")[f"ddim{steps}_timesteps"].tolist()


@pytest.mark.parametrize(("steps", "scale"), [(10, 1), (10, 3), (25, 3)])
def test_ddim_with_guidance_agrees_with_make_an_audio(steps, scale):
    golden = load_file(GOLDEN / "maa_ddim_io.safetensors")
    denoise = guided(make_an_audio_unet(), golden["cond"], golden["uncond"][0], scale)
    with torch.no_grad():
        latents = ddim(MAKE_AN_AUDIO, denoise, golden["x_T"], steps)
    expected = golden[f"out_S{steps}_scale{scale}"]
    assert float((latents - expected).abs().max() / expected.abs().max()) < 1e-3


@pytest.mark.parametrize("schedule", [MAKE_AN_AUDIO, NoiseSchedule("velocity", zero_terminal_snr=False), VELOCITY])
@pytest.mark.parametrize(("sampler", "steps"), [(ddim, 100), (dpm_solver, 20)])
def test_samplers_turn_noise_into_the_data_distribution(schedule, sampler, steps):
    noise = initial_noise(range(4), (8, 10, 20))
    latents = sampler(schedule, exact_prediction(schedule), noise, steps)
    # The flow of a normal distribution only scales; what is left is the discretisation.
    torch.testing.assert_close(latents, SPREAD * noise, rtol=0.03, atol=0.01)


def test_dpm_solver_comes_near_ddims_limit_in_few_steps():
    golden = load_file(GOLDEN / "maa_ddim_io.safetensors")
    denoise = guided(make_an_audio_unet(), golden["cond"], golden["uncond"][0], 3)
    with torch.no_grad():
        limit = ddim(MAKE_AN_AUDIO, denoise, golden["x_T"], 100)
        quick = dpm_solver(MAKE_AN_AUDIO, denoise, golden["x_T"], 20)
    assert float((quick - limit).norm() / limit.norm()) < 0.08


@pytest.mark.parametrize("steps", [0, 501, 1000])
def test_ddim_refuses_more_steps_than_its_schedule_holds(steps):
    with pytest.raises(ValueError, match=r"sample\.steps"):
        ddim(MAKE_AN_AUDIO, exact_prediction(MAKE_AN_AUDIO), torch.zeros(1, 4, 10, 16), steps)


@pytest.mark.parametrize("steps", [3, 36, 101, 300, 333, 500])
def test_ddims_timesteps_stay_within_the_schedule(steps):
    visited = []

    def denoise(latents, timestep):
        visited.append(timestep)
        return latents

    ddim(MAKE_AN_AUDIO, denoise, torch.zeros(1, 1, 2, 2), steps)
    assert visited == sorted(set(visited), reverse=True)
    assert visited[0] < 1000
    assert len(visited) >= steps


def test_noise_of_an_item_depends_on_its_seed_alone():
    together = initial_noise([5, 6, 7], (8, 10, 20))
    assert torch.equal(initial_noise([7], (8, 10, 20))[0], together[2])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_clip_does_not_depend_on_its_batch(sampler, scale):
    contexts = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(7, 32)
    unet = make_an_audio_unet()

    def sample(rows):
        return sample_latents(
            unet,
            contexts[rows],
            empty,
            seeds=rows,
            latent_shape=(4, 10, 16),
            sampler=sampler,
            steps=4,
            guidance_scale=scale,
            guidance_from_timestep=0,
        )

    torch.testing.assert_close(sample([2])[0], sample([0, 1, 2])[2], rtol=1e-3, atol=1e-4)


def test_guidance_1_runs_the_conditional_branch_alone_and_guidance_2_extrapolates():
    contexts = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(7, 32)
    unet = make_an_audio_unet()
    noise = initial_noise([1, 2], (4, 10, 16))
    batches = []
    unet.register_forward_pre_hook(lambda _module, inputs: batches.append(len(inputs[0])))
    with torch.no_grad():
        conditional = guided(unet, contexts, empty, 1)(noise, 500)
        unconditional = guided(unet, empty.expand(2, -1, -1), empty, 1)(noise, 500)
        both = guided(unet, contexts, empty, 2)(noise, 500)
        early_alone = guided(unet, contexts, empty, 2, from_timestep=501)(noise, 500)
    assert batches == [2, 2, 4, 2]
    torch.testing.assert_close(early_alone, conditional)
    torch.testing.assert_close(both, 2 * conditional - unconditional, rtol=1e-3, atol=1e-4)


def test_zero_terminal_snr_begins_in_noise_alone_and_keeps_the_cleanest_timestep():
    alphas, plain = VELOCITY.alphas_cumprod(), MAKE_AN_AUDIO.alphas_cumprod()
    assert float(alphas[-1]) == 0
    assert float(alphas[0]) == pytest.approx(float(plain[0]), rel=1e-9)
    assert bool((alphas[1:] < alphas[:-1]).all())


@pytest.mark.parametrize("schedule", [MAKE_AN_AUDIO, VELOCITY])
def test_a_perfect_prediction_implies_the_clean_latent(schedule):
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 6, 4, 10, 20)
    timesteps = torch.tensor([0, 100, 400, 700, 950, 998])
    noisy = schedule.add_noise(latents, noise, timesteps)
    clean = schedule.clean(schedule.target(latents, noise, timesteps), noisy, timesteps)
    torch.testing.assert_close(clean, latents, rtol=1e-3, atol=1e-3)
