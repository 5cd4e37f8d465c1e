"""Clips by the trained networks of a run: loaded once, then asked as often as one likes.

From Python: `make = Generator(); waveform = make("three slow rings", "bell.png", seed=1)`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stages.formats.audio import SAMPLE_RATE
from stages.inference.provenance import Record, code_version
from stages.inference.run import SETTINGS, Request, Run, check_seed
from stages.language.text import process_text
from stages.plumbing.device import device
from stages.synthesis.samplers import latent_width, sample_latents
from stages.tracking.dependencies import content_md5
from stages.training.determinism import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from stages.synthesis.unet import Denoiser

EXPERIMENTS = ("a", "b", "reference")
QUIET = -40.0  # dB


@dataclass(frozen=True)
class Clip:
    """A waveform `[samples]` at 16 kHz within +-1, and what its hearer should know of it, a line each."""

    waveform: Tensor
    doubts: tuple[str, ...]


class Generator:
    """The networks of a trained run, loaded once; each call makes one clip, equal arguments equal samples.

    Args:
        root: the repository, with `params.yaml` and `models/`; or a `Run` of it.
        experiment: whose conditioning steers: "a", "b", or "reference" (CLAP's own features of the text, what A and B
            are measured against); several are loaded together and share what they have in common. Left out, the better
            one by the run's own evaluation.

    Raises:
        ValueError: no trained weights, or such as do not belong together.
    """

    def __init__(self, root: str | Path | Run = ".", experiment: str | Sequence[str] | None = None) -> None:
        from safetensors import SafetensorError

        self.run = root if isinstance(root, Run) else Run(root)
        named = [experiment] if isinstance(experiment, str) else list(experiment or [self.run.better()[0]])
        self.experiments, self.experiment = named, named[0]
        models = self.run.root / "models"
        for name in named:
            if name not in EXPERIMENTS:
                raise ValueError(f"--experiment {name}: give one of {', '.join(EXPERIMENTS)}")
            if name != "reference" and name not in self.run.trained:
                raise ValueError(f"{models}/experiment_{name}: no trained weights there; run `dvc repro` first")
        try:
            self._load(models)
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{models}: weights that are not whole or do not belong together ({reason}); run `dvc checkout` or "
                "`dvc repro`, or wait for the stage that is writing them"
            ) from error

    def _load(self, models: Path) -> None:
        from stages.experiments.experiment_a import load_experiment_a
        from stages.experiments.experiment_b import load_experiment_b
        from stages.inference.replay import Replayed
        from stages.synthesis.codec import load_codec
        from stages.synthesis.unet import load_denoiser
        from stages.towers import imagebind as ib
        from stages.towers.store import load_clap, load_imagebind

        where = device()
        torch.backends.cudnn.deterministic = True  # on a card some of its algorithms add up in another order each time
        self._clap, self._tokenizer = load_clap(models / "encoders")
        self._imagebind = load_imagebind(models / "encoders").to(where)
        self._codec = load_codec(models / "codec").to(where)
        with torch.no_grad():
            self._empty = self._clap.token_features(self._tokenizer([""]))[0]
        self._contexts: dict[str, Callable[[Tensor, Tensor, list[int]], Tensor]] = {}
        self._denoisers: dict[str, Denoiser] = {}
        if "a" in self.experiments:
            trained = load_experiment_a(models / "experiment_a", models / "backbone").to(where)
            self._denoisers["a"] = trained.denoiser
            self._contexts["a"] = lambda text, image, _: trained.context(text, image)
        if "b" in self.experiments:
            self._contexts["b"] = load_experiment_b(models / "experiment_b").to(where).context
        if {"b", "reference"} & set(self.experiments):
            self._denoisers["b"] = self._denoisers["reference"] = load_denoiser(models / "backbone").eval().to(where)
        # What is recorded is of one shape, so a card reads texts at full length.
        self._text_length = ib.TEXT_LENGTH if where.startswith("cuda") else None
        if where.startswith("cuda"):
            towers = self._imagebind.get_submodule("modality_trunks").children()
            for network in (*towers, *set(self._denoisers.values()), self._codec.vae.decoder, self._codec.vocoder):
                network.forward = Replayed(network.forward, where)

    @cached_property
    def weights(self) -> dict[str, str]:
        """md5 of each folder of weights as dvc.lock writes it; reading full-size weights takes seconds."""
        own = [f"models/experiment_{name}" for name in self.experiments if name != "reference"]
        folders = ("models/encoders", "models/codec", "models/backbone", *own)
        return {name: content_md5(self.run.root / name) for name in folders}

    def __call__(
        self,
        text: str | None = None,
        image: str | Path | None = None,
        *,
        seed: int = 0,
        seconds: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        fast: bool = False,
        experiment: str | None = None,
    ) -> Tensor:
        """Make one waveform `[samples]` at 16 kHz in [-1, 1]; `Run.request` says what is left out and refused.

        With a text or an image alone, its embedding stands for the average of both. Doubts (nearly silent, words that
        no caption had ...) are Python warnings.
        """
        request = self.run.request(text, image, seconds=seconds, steps=steps, guidance_scale=guidance_scale, fast=fast)
        clip = self.make(request, seed, experiment)
        for doubt in (*request.doubts, *clip.doubts):
            warnings.warn(doubt, stacklevel=2)
        return clip.waveform

    @torch.no_grad()
    def make(self, request: Request, seed: int = 0, experiment: str | None = None) -> Clip:
        """Make one clip by one of the loaded experiments, left out by the first.

        Raises ValueError for what is no seed, an experiment that is not loaded, the reference without a text.
        """
        check_seed(seed)
        name = experiment or self.experiment
        if name not in self.experiments:
            raise ValueError(f"--experiment {name}: not loaded; Generator(experiment=...) was given {self.experiments}")
        channels, height, width = self._codec.latent_shape
        seeds = [derive_seed(seed, "generate")]
        latents = sample_latents(
            self._denoisers[name],
            self._context(request, name, seeds),
            self._empty,
            seeds=seeds,
            latent_shape=(channels, height, width if request.seconds is None else latent_width(request.seconds)),
            sampler=request.sampler,
            steps=request.steps,
            guidance_scale=request.guidance_scale,
            guidance_from_timestep=request.guidance_from_timestep,
        )
        waveform = self._codec.decode(latents)[0]
        waveform = waveform if request.seconds is None else waveform[: round(request.seconds * SAMPLE_RATE)]
        return safe(waveform)

    def _context(self, request: Request, experiment: str, seeds: list[int]) -> Tensor:
        """What the U-Net is steered by, `[1, T, C]`."""
        from stages.towers import imagebind as ib

        if experiment == "reference":
            if request.text is None:
                raise ValueError("--experiment reference: reads a text alone; give --text")
            return self._clap.token_features(self._tokenizer([request.text]))
        embedded: dict[str, Tensor] = {}
        if request.text is not None:
            # As `embed` gave it to ImageBind in training: captions as they stand, text parts processed.
            as_it_stands = self.run.params.embed.text == "caption"
            tokens = ib.tokenize([request.text if as_it_stands else process_text(request.text)])
            embedded["text"] = ib.embed_texts(self._imagebind, tokens, self._text_length)
        if request.pixels is not None:
            embedded["image"] = ib.embed_images(self._imagebind, request.pixels[None])
        missing = torch.zeros_like(next(iter(embedded.values())))
        return self._contexts[experiment](embedded.get("text", missing), embedded.get("image", missing), seeds)

    def record(self, request: Request, seed: int, experiment: str | None = None) -> Record:
        """What a clip's file should remember, so that it can be made again."""
        name = experiment or self.experiment
        own = {"models/experiment_a", "models/experiment_b"} - {f"models/experiment_{name}"}
        return {
            "text": request.text,
            "image": request.image,
            "image_md5": None if request.image is None else content_md5(Path(request.image)),
            "experiment": name,
            "seed": seed,
            **{name: getattr(request, name) for name in SETTINGS},
            "weights": {folder: md5 for folder, md5 in self.weights.items() if folder not in own},
            "code": code_version(),
        }


def safe(waveform: Tensor) -> Clip:
    """A waveform without clipping: scaled down where it reaches beyond +-1. What is nearly silent is said.

    Raises ValueError for values that are no numbers.
    """
    if not waveform.isfinite().all():
        raise ValueError("models: the networks gave values that are no numbers; `dvc checkout` or train them again")
    doubts, peak = [], float(waveform.abs().max())
    if peak > 1:
        waveform = waveform / peak
        doubts.append(f"made {20 * math.log10(peak):.1f} dB quieter: it would have been clipped")
    if (level := decibels(waveform)) < QUIET:
        doubts.append(f"nearly silent ({level:.0f} dB); try another --seed or --guidance-scale")
    return Clip(waveform, tuple(doubts))


def decibels(waveform: Tensor) -> float:
    """Root mean square of a waveform, in dB below full scale; -inf for silence."""
    return 20 * math.log10(level) if (level := float(waveform.square().mean().sqrt())) > 0 else -math.inf
