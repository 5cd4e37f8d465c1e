"""The steps of `tests.gpu.run`: each works in the working folder and returns its numbers.

seconds: of what the name says, the median without the first call where there are several, which is `first_s`.
peak_gb: the most of the card's memory that was allocated; on a CPU the process's largest resident set so far.
difference: see `tests.gpu.run`, without TF32; `difference_as_run` with it, as torch has it for convolutions.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from stages.backbone import read_denoiser
from stages.corpus.clips import Row
from stages.embed import BATCH as AT_ONCE
from stages.embed import embedder
from stages.embedding.embeddings import EMPTY, Batch, Embeddings, load_embeddings, write_embeddings
from stages.evaluation.mismatch import mismatch_around
from stages.experiments.alignment import alignment_loss
from stages.experiments.experiment_a import ExperimentA
from stages.experiments.experiment_b import ExperimentB
from stages.experiments.fusion import save_experiment
from stages.experiments.training_a import reference_losses, train_stage
from stages.experiments.training_b import train_experiment_b
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import read_json
from stages.full_size.stand_ins import write_what_conditions
from stages.inference.generator import Generator
from stages.inference.replay import Replayed
from stages.inference.run import FAST, Request, Run
from stages.params.experiments import Memory, TrainA, TrainB
from stages.params.schema import load_params
from stages.plumbing.cluster import in_batches
from stages.plumbing.device import device
from stages.published.codec import convert_codec
from stages.published.encoders import convert_encoders
from stages.synthesis.unet import load_denoiser, save_denoiser
from stages.training.determinism import be_deterministic
from stages.training.diffusion import random_diffusion_loss
from stages.training.loop import Trained
from tests.gpu import flux
from tests.gpu.measuring import difference, gradients_of, measured, on, on_both, without_tf32
from tests.gpu.run import Numbers, Step

PRESET = Path(__file__).parents[2] / "presets/full.yaml"
SAMPLES = 159_744
BATCH = 4
COMPARED = 4
KEPT = ("text", "image", "clap_tokens", "clap_lengths", "latents")
MEMORY = Memory(precision="bfloat16", gradient_checkpointing=True, optimizer="adamw")
WORDS = ("a dog barks three times", "a small bell rings", "rain falls on a tin roof", "an engine starts slowly")


def at_full_size() -> dict[str, Step]:
    """All steps in their order, with what each needs on a card and 16 cores."""
    return {"weights": (weights, 60), **steps(pairs=64, seconds=9.984, flux_size={}, flux_vae=flux.VAE, pixels=512)}


def steps(pairs: int, seconds: float, flux_size: Numbers, flux_vae: Numbers, pixels: int) -> dict[str, Step]:
    """What is measured of the networks in `models/`: `pairs` embedded, clips of `seconds`, one image of `pixels`."""
    drawn: Numbers = {"size": flux_size, "vae": flux_vae, "pixels": pixels}
    return {
        "embed": (partial(embed, pairs), 60),
        "train_a_stage_1": (partial(train_a, 1), 30),
        "train_a_stage_2": (partial(train_a, 2), 40),
        "train_b": (train_b, 20),
        "same_update_twice": (same_update_twice, 20),
        "generate": (partial(generate, seconds, {}), 50),
        "generate_fast": (partial(generate, seconds, FAST), 40),
        "flux_fp8": (partial(flux.draw, "fp8", **drawn), 40),
        "flux_nf4": (partial(flux.draw, "nf4", **drawn), 60),
    }


def weights() -> Numbers:
    """Random weights in the published files, read as the stages read them; A and B untrained."""
    shutil.copy(PRESET, "params.yaml")
    write_what_conditions(Path("weights"))
    for name in ("codec", "backbone", "encoders", "experiment_a", "experiment_b"):
        Path("models", name).mkdir(parents=True)
    params = load_params()
    assert params.encoders.source == "pretrained"
    assert params.backbone.source == "pretrained"
    convert_codec(Path("models/codec"), "weights", SAMPLES)
    save_denoiser(Path("models/backbone"), read_denoiser("weights", params.backbone.attention_heads))
    convert_encoders(Path("models/encoders"), "weights", params.encoders.imagebind, params.encoders.clap)
    shutil.rmtree("weights")
    context_dim, embedding_dim = 1024, params.encoders.imagebind.embedding_dim
    a, b = config_of(params.train_a, embedding_dim, context_dim, 77), config_of(params.train_b, embedding_dim)
    save_experiment(Path("models/experiment_a"), a, ExperimentA(a, load_denoiser()).state_dict())
    save_experiment(Path("models/experiment_b"), b, ExperimentB(b, torch.randn(77, context_dim)).state_dict())
    return {"parameters": sum(file.stat().st_size for file in Path("models").rglob("*.safetensors")) // 4}


def config_of(params: TrainA | TrainB, embedding_dim: int, context_dim: int = 0, length: int = 0) -> Numbers:
    """What builds experiment A's or B's network."""
    config: Numbers = {"fusion": params.fusion, "embedding_dim": embedding_dim}
    if isinstance(params, TrainA):
        return config | {"context_dim": context_dim, "context_tokens": params.context_tokens, "length": length}
    return config | params.model_dump(include={"width", "blocks", "heads", "linear_path", "centre"})


def embed(pairs: int) -> Numbers:
    """Embed as the stage does, 32 pairs at a time, and keep the embeddings for the trainings."""
    rows = made_pairs(pairs)
    few, split = rows[:COMPARED], pairs * 5 // 8
    found, as_run, exact = embedded_here(rows, few, split)
    with on("cpu"):
        truth = embedder("text_part")(few)
    return found | {"difference": difference(exact, truth), "difference_as_run": difference(as_run, truth)}


def embedded_here(rows: list[Row], few: list[Row], split: int) -> tuple[Numbers, Batch, Batch]:
    """Embed on the device; write the first `split` rows as training pairs, the others as validation pairs."""
    work = embedder("text_part")
    batches, found = measured(lambda: [work(part) for part in in_batches(rows, AT_ONCE)], 2)
    Path("data/embeddings").mkdir(parents=True, exist_ok=True)
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in KEPT}
    for name, part in {"train": slice(0, split), "valid": slice(split, len(rows))}.items():
        tensors = {key: tensor[part] for key, tensor in whole.items()} | {EMPTY: batches[0][EMPTY]}
        write_embeddings(Path(f"data/embeddings/{name}.safetensors"), [row["id"] for row in rows[part]], [tensors])
    as_run = work(few)
    with without_tf32():
        return found, as_run, work(few)


def made_pairs(count: int) -> list[Row]:
    """Noise as clips of the codec's length and as pictures, with captions."""
    import soundfile
    from PIL import Image

    samples = 2048 * read_json(Path("models/codec/config.json"))["latent_shape"][2]
    generator = torch.Generator().manual_seed(0)
    for folder in ("data/corpus", "data/images"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        wave = 0.1 * torch.randn(samples, generator=generator)
        soundfile.write(f"data/corpus/{number}.flac", wave.clamp(-1, 1).numpy(), SAMPLE_RATE)
        pixels = torch.randint(256, (224, 224, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(f"data/images/{number}.png")
        caption = f"{WORDS[number % len(WORDS)]} {number}"
        parts = dict.fromkeys(("caption", "visual_part", "text_part"), caption)
        rows.append(
            {"id": f"{number:03d}", "file_name": f"{number}.flac", "image": f"data/images/{number}.png"} | parts
        )
    return rows


def train_a(number: int) -> Numbers:
    """Updates of stage 1 or 2 as the stage takes them, in bfloat16 with checkpointing, a validation every ten."""
    be_deterministic(1)
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    trained, found = measured(partial(trained_a, number, data, valid, Path("work")))

    def gradients() -> Tensor:
        network = network_a(data, checkpointing=False)
        network.denoiser.requires_grad_(number == 2)
        batch = data.rows(torch.arange(min(BATCH, len(data.ids)))).to(device())
        context = network.context(batch.text, batch.image)
        random_diffusion_loss(network.denoiser, batch.latents, context, "plain").backward()
        return gradients_of(network)

    return found | {"updates": trained.curve[-1]["updates"]} | on_both(gradients)


def trained_a(number: int, data: Embeddings, valid: Embeddings, work: Path) -> Trained:
    """Train a stage for two epochs, with what the stage reports before and after it."""
    network = network_a(data)
    reference_losses(network.denoiser, valid)
    trained, _ = train_stage(number, network, data, valid, recipe_a(), work)
    network.eval()
    with torch.no_grad():
        fused, context = network.fusion(valid.text, valid.image), network.context(valid.text, valid.image)
        mismatch_around(fused, context, valid.clap_tokens)
    return trained


def recipe_a() -> TrainA:
    """`train_a` at batch 4 in bfloat16 with checkpointing, two epochs each."""
    params = load_params().train_a
    stages = {name: getattr(params, name).model_copy(update={"epochs": 2}) for name in ("stage_1", "stage_2")}
    return params.model_copy(update={"batch_size": BATCH, "memory": MEMORY, **stages})


def network_a(data: Embeddings, checkpointing: bool = True) -> ExperimentA:
    """Experiment A on the device, always with the same weights."""
    torch.manual_seed(0)
    _, length, context_dim = data.clap_tokens.shape
    denoiser = load_denoiser()
    if checkpointing:
        denoiser.unet.enable_gradient_checkpointing()
    return ExperimentA(config_of(recipe_a(), data.text.shape[1], context_dim, length), denoiser).to(device())


def train_b() -> Numbers:
    """Updates of B at batch 4 as the stage takes them, with its validations, baselines and reports."""
    be_deterministic(1)
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    params = load_params().train_b.model_copy(update={"batch_size": BATCH, "epochs": 2})

    def train() -> Numbers:
        return train_experiment_b(params, data, valid, load_denoiser().to(device()), Path("work")).metrics

    metrics, found = measured(train)

    def gradients() -> Tensor:
        torch.manual_seed(0)
        network = ExperimentB(config_of(params, data.text.shape[1]), data.clap_tokens.mean(dim=0)).to(device())
        batch = data.rows(torch.arange(min(BATCH, len(data.ids)))).to(device())
        alignment_loss(network.context(batch.text, batch.image), batch.clap_tokens, params.loss_weights).backward()
        return gradients_of(network)

    return found | {"updates": metrics["updates"]} | on_both(gradients)


def same_update_twice() -> Numbers:
    """Updates of A's second stage from the same weights, twice: equal bytes of all weights, or an error."""
    be_deterministic(1)
    data, valid = load_embeddings("train").rows(torch.arange(BATCH)), load_embeddings("valid").to(device())
    first, found = measured(partial(trained_a, 2, data, valid, Path("work/first")))
    first_weights = {name: tensor.cpu() for name, tensor in first.last.items()}
    del first
    second = trained_a(2, data, valid, Path("work/second")).last
    other = [name for name, tensor in first_weights.items() if not torch.equal(tensor, second[name].cpu())]
    if other:
        raise ValueError(f"{len(other)} of {len(second)} tensors differ between the two: {other[:3]}")
    return found | {"same_bytes": True}


def generate(seconds: float, settings: Numbers) -> Numbers:
    """One clip from a text and an image, the networks loaded; `settings` are those of `Run.request`."""
    image = Path("data/images/0.png")
    if not image.is_file():
        made_pairs(1)
    request = Run(".").request("three slow rings", image, seconds=seconds, **settings)
    found, as_run, exact = generated_here(request)
    with on("cpu"):
        truth = Generator(".", "b").make(request).waveform
    found |= {"steps": request.steps, "guidance_from_timestep": request.guidance_from_timestep}
    return found | {"difference": difference(exact, truth), "difference_as_run": difference(as_run, truth)}


def generated_here(request: Request) -> tuple[Numbers, Tensor, Tensor]:
    """Make the clip on the device five times, once with nothing recorded, and once without TF32.

    Raises ValueError where two of the first six differ.
    """
    generator = Generator(".", "b")
    as_run, found = measured(lambda: generator.make(request).waveform, 5)
    if not torch.equal(as_run, generator.make(request).waveform):
        raise ValueError("equal arguments gave other samples")
    found["networks_recorded"] = unrecorded(generator)
    if not torch.equal(as_run, generator.make(request).waveform):
        raise ValueError("passes that were recorded and replayed gave other samples than plain ones")
    # What was recorded on a card stays as it was recorded: new networks.
    generator = Generator(".", "b")
    with without_tf32():
        return found, as_run, generator.make(request).waveform


def unrecorded(generator: Generator) -> int:
    """Let every network that replays a recording run as it is written again; how many did."""
    codec = generator._codec
    networks = (generator._imagebind, *set(generator._denoisers.values()), codec.vae, codec.vocoder)
    replaying = [
        part for network in networks for part in network.modules() if isinstance(vars(part).get("forward"), Replayed)
    ]
    for part in replaying:
        del part.forward
    return len(replaying)
