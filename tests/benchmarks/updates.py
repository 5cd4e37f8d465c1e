"""A training update of each network of the miniature, beside the machine's rate of matrix products.

The loop as stages run it: loss, gradients, clipping, Muon and AdamW, average. The limit is what the counted operations
of a loss and its gradients (convolutions, products, attention) take at the rate of one large float32 product on the
same threads. Clips are noise; captions are of the usual length. Which kind of work an update's time goes into is
torch's profiler's, in a run of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from stages import codec, encoders
from stages.experiments.training import teraflops_per_update
from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE
from stages.params.schema import Params, load_params
from stages.synthesis.bigvgan import BigVGAN
from stages.synthesis.codec import build_vae
from stages.synthesis.unet import build_denoiser
from stages.towers.clap import Tokenizer, word_pieces, write_vocabulary
from stages.training import loop
from stages.training.determinism import be_deterministic
from stages.training.diffusion import drop_context, random_diffusion_loss
from stages.training.loop import PLAIN_REGIME, train
from tests.benchmarks.table import Row, timed

ROOT = Path(__file__).parents[2]
CLIPS, UPDATES = 96, 24
CAPTIONS = (
    "A small dog in a hall barks three times, quickly and loudly.",
    "A large bell on a ship rings slowly and softly, growing louder.",
    "Tiny raindrops on a tin roof patter swiftly, then fade away.",
    "An old siren in a cellar wails once at an unhurried pace.",
)
# By words in the names of torch's operations, the first that fits; what an optimiser calls is the optimiser's.
KINDS = {
    "optimisers": ("Optimizer.step",),
    "convolutions": ("convolution",),
    "attention": ("scaled_dot_product",),
    "products": ("mm",),
    "norms": ("group_norm", "layer_norm"),
    "copies": ("copy_", "aten::cat", "aten::index", "aten::fill_"),
    "activations and sums element by element": ("aten::",),
}


@dataclass(frozen=True)
class Training:
    """What a stage hands to the loop: a network, its loss, and the rest by name."""

    network: nn.Module
    loss: Callable[[int], Tensor]
    rest: dict[str, Any]


def rows(small: bool) -> list[Row]:
    """One row a network."""
    be_deterministic()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            rate = products_a_second(256 if small else 2048)
            for name, training in trainings(load_params(ROOT / "params.yaml"), 16 if small else CLIPS).items():
                found.append(row(name, training, rate, 3 if small else UPDATES))
        finally:
            os.chdir(before)
    return found


def row(name: str, training: Training, rate: float, updates: int) -> Row:
    """Seconds of an update in the loop, beside what its operations take at `rate` a second."""

    def both(_: int) -> Tensor:
        """Of two losses in turn, as some trainings have."""
        return training.loss(0) + training.loss(1)

    limit = 0.5e12 * teraflops_per_update(training.network, both, PLAIN_REGIME) / rate
    ours = seconds_an_update(training, updates)
    what = (
        f"an update of {name}, {limit * rate / 1e9:.2f} GFLOP: {100 * limit / ours:.0f} % of one large product's rate; "
        f"{spent(training, updates)}"
    )
    return Row(f"update_{name}", what, ours, limit_s=limit)


def spent(training: Training, updates: int) -> str:
    """Which share of an update's time goes into each kind of work; the rest is the loop's, autograd's and torch's."""
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        seconds = updates * seconds_an_update(training, updates)
    shares = dict.fromkeys(KINDS, 0.0)
    for event in watched.events():
        names, parent = [event.name], event.cpu_parent
        while parent is not None:
            names.append(parent.name)
            parent = parent.cpu_parent
        called = next((name for name in names if "Optimizer.step" in name), event.name)
        kind = next((kind for kind, words in KINDS.items() if any(word in called for word in words)), None)
        if kind is not None:
            shares[kind] += event.self_cpu_time_total / 1e6 / seconds
    return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares.items())


def seconds_an_update(training: Training, updates: int) -> float:
    """The median of an update's seconds in the loop that stages use, from one loss to the second next and halved."""
    begun: list[float] = []

    def loss(update: int) -> Tensor:
        begun.append(time.perf_counter())
        return training.loss(update)

    with tempfile.TemporaryDirectory() as work:
        # Validations and checkpoints come after the last update.
        rest = training.rest | {"updates": updates, "epoch_updates": updates, "work": Path(work), "validate": None}
        train(training.network, loss, **rest | {"best_by": None})
    return median((later - earlier) / 2 for earlier, later in zip(begun, begun[2:], strict=False))


def products_a_second(side: int) -> float:
    """Floating point operations a second of a square float32 product, the best of five."""
    left, right = torch.randn(side, side), torch.randn(side, side)
    return 2 * side**3 / min(timed(lambda: left @ right) for _ in range(5))


def trainings(params: Params, clips: int) -> dict[str, Training]:
    """The networks' trainings on noise, as their stages set them up."""
    assert params.codec.source == "trained"
    assert params.encoders.source == "trained"
    assert params.backbone.source == "trained"
    samples = round(params.prepare.clip_seconds * SAMPLE_RATE)
    mels = torch.randn(clips, 80, samples // HOP_LENGTH) - 2.5
    sound = torch.randint(-3000, 3000, (clips, samples)).short()
    work, rows = Path("work"), noise(clips, sound)
    write_vocabulary(Path("vocab.txt"), word_pieces(CAPTIONS))
    tokenizer = Tokenizer(Path("vocab.txt"), params.encoders.clap.tokens)
    return {
        "vae": caught(loop, codec.train_vae, build_vae(params.codec.vae), mels, mels[:2], params.codec, work),
        "vocoder": caught(
            loop, codec.train_vocoder, BigVGAN(params.codec.vocoder), sound, mels, mels, params.codec, work
        ),
        "imagebind": caught(loop, encoders.train_imagebind, rows, params.encoders, work),
        "clap": caught(loop, encoders.train_clap, rows, tokenizer, params.encoders, work),
        "backbone": backbone(params, samples, clips),
    }


class CaughtError(Exception):
    """Ends a stage's function where its training would begin."""


def caught(caller: Any, function: Callable[..., Any], *arguments: Any) -> Training:
    """What `function` would train by the name `train` in the module `caller`."""
    found: list[Training] = []

    def instead(network: nn.Module, loss: Callable[[int], Tensor], **rest: Any) -> None:
        found.append(Training(network, loss, rest))
        raise CaughtError

    with patch.object(caller, "train", instead):
        try:
            function(*arguments)
        except CaughtError:
            return found[0]
    raise AssertionError(f"{function.__name__} trains nothing")


def backbone(params: Params, samples: int, clips: int) -> Training:
    """The backbone's loss, which its stage has no function for."""
    size = params.backbone
    assert size.source == "trained"
    assert params.encoders.source == "trained"
    tokens, width = params.encoders.clap.tokens, params.encoders.clap.embedding_dim
    latents, context = torch.randn(clips, 4, 10, samples // 2048), torch.randn(clips, tokens, width)

    def loss(update: int) -> Tensor:
        batch = torch.arange(size.training.batch_size) % clips
        conditioned = drop_context(context[batch], context[0], size.caption_dropout)
        return random_diffusion_loss(denoiser, latents[batch], conditioned, size.loss_weighting)

    denoiser = build_denoiser(size, latents.shape[1], width)
    schedule = size.training
    rest = {"learning_rate": schedule.learning_rate, "muon_rate": schedule.muon_rate, "ema_decay": size.ema_decay}
    return Training(denoiser, loss, {"name": "backbone", "seed": 1, **rest})


def noise(count: int, sound: Tensor) -> list[dict[str, Any]]:
    """Rows of the corpus with clips `[N, samples]` and pictures in the working folder."""
    import soundfile
    from PIL import Image

    for folder in ("data/corpus", "data/images"):
        Path(folder).mkdir(parents=True)
    found = []
    for number, wave in enumerate(sound):
        soundfile.write(f"data/corpus/{number}.flac", wave.numpy(), SAMPLE_RATE)
        Image.fromarray(torch.randint(256, (224, 224, 3), dtype=torch.uint8).numpy()).save(f"data/images/{number}.png")
        caption = CAPTIONS[number % len(CAPTIONS)]
        seen, heard = caption.rsplit(" ", 5)[0], " ".join(caption.split()[-5:])
        parts = {"caption": caption, "visual_part": seen, "text_part": heard, "split": "train"}
        files = {"file_name": f"{number}.flac", "image": f"data/images/{number}.png"}
        found.append({"id": f"{number:03d}", **files, **parts, "sources": ["dog"], "attributes": {}})
    return found
