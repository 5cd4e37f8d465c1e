"""Clips by the trained networks of a run: loaded once, then asked as often as one likes.

From Python: `make = Generator(); waveform = make("three slow rings", "bell.png", seed=1)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE, VAE_DOWNSAMPLING
from stages.formats.files import read_json
from stages.language.text import process_text, words
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.synthesis.generation import latent_width, sample_latents
from stages.training.determinism import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

Experiment = Literal["a", "b"]
EVALUATION = Path("metrics/evaluation.json")
SCORE = "clap_score"


@dataclass(frozen=True)
class Request:
    """What a clip is asked for with, checked; made by `Run.request`.

    text: what ImageBind reads, or None; image: `[3, 224, 224]` uint8, or None; seconds: None for the training clips'.
    """

    text: str | None
    image: Tensor | None
    seconds: float | None
    steps: int
    guidance_scale: float


class Run:
    """What is known of the trained run in a repository before any network is loaded.

    Its `params` decide how a clip is made where the asker does not say; `seconds` is the length of the clips that its
    networks learned. Raises ValueError where there are no params, or weights that are not there whole.
    """

    def __init__(self, root: str | Path = ".") -> None:
        self.root = Path(root)
        self.params = load_params(self.root / "params.yaml")
        for name in ("encoders", "codec", "backbone"):
            if not (self.root / "models" / name / "config.json").is_file():
                raise ValueError(
                    f"{self.root / 'models' / name}: no trained weights there; run `dvc repro` or `dvc pull`, or wait "
                    "for the stage that is writing them"
                )
        self.trained = [name for name in ("a", "b") if (self.root / f"models/experiment_{name}/config.json").is_file()]
        if not self.trained:
            raise ValueError(
                f"{self.root}/models/experiment_*: no trained weights there; run `dvc repro` or `dvc pull`"
            )
        width = read_json(self.root / "models/codec/config.json")["latent_shape"][2]
        self.seconds = width * VAE_DOWNSAMPLING * HOP_LENGTH / SAMPLE_RATE

    def better(self) -> tuple[str, str]:
        """The experiment whose clips the run's own evaluation scored higher, and in words why it is taken."""
        if len(self.trained) == 1:
            return self.trained[0], f"experiment {self.trained[0]}: the only one with weights"
        try:
            found = read_json(self.root / EVALUATION)
            scores = {name: float(found[f"experiment_{name}"][SCORE]) for name in self.trained}
        except (OSError, ValueError, KeyError, TypeError):
            return "b", f"experiment b: no {SCORE} of both in {EVALUATION} says which is better"
        name = max(scores, key=lambda one: scores[one])
        listed = ", ".join(f"{one} {score:.3f}" for one, score in sorted(scores.items()))
        return name, f"experiment {name}: its {SCORE} is the higher one in {EVALUATION} ({listed})"

    def request(
        self,
        text: str | None = None,
        image: str | Path | None = None,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Request:
        """Check what a clip is asked for with; what is left out is the run's own `sample` section.

        Raises ValueError, named as the command's options: neither text nor image, a text without a word, an image that
        cannot be read, values out of range.
        """
        from stages.towers.imagebind import read_image

        steps = self.params.sample.steps if steps is None else steps
        guidance_scale = self.params.sample.guidance_scale if guidance_scale is None else guidance_scale
        if text is None and image is None:
            raise ValueError("--text and --image are both missing; give a text, an image or both")
        if text is not None:
            if not words(text):
                raise ValueError(f"--text {text!r}: holds no word; describe the sound in English, or leave --text out")
            # As `embed` gave it to ImageBind in training: captions as they stand, text parts processed.
            text = text if self.params.embed.text == "caption" else process_text(text)
        if steps < 1:
            raise ValueError(f"--steps {steps}: give at least 1")
        if not 1 <= guidance_scale < math.inf:
            raise ValueError(f"--guidance-scale {guidance_scale:g}: give 1 (none) or more")
        if seconds is not None:
            latent_width(seconds)
        return Request(text, None if image is None else read_image(image), seconds, steps, guidance_scale)


class Generator:
    """The networks of a trained run, loaded once; each call makes one clip, equal arguments equal samples.

    Args:
        root: the repository, with `params.yaml` and `models/`; or a `Run` of it.
        experiment: whose conditioning steers, "a" or "b"; left out, the better one by the run's own evaluation.

    Raises:
        ValueError: no trained weights, or such as do not belong together.
    """

    def __init__(self, root: str | Path | Run = ".", experiment: str | None = None) -> None:
        from safetensors import SafetensorError

        self.run = root if isinstance(root, Run) else Run(root)
        self.experiment = experiment or self.run.better()[0]
        models = self.run.root / "models"
        if self.experiment not in self.run.trained:
            raise ValueError(f"{models}/experiment_{self.experiment}: no trained weights there; run `dvc repro` first")
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
        from stages.synthesis.codec import load_codec
        from stages.synthesis.unet import load_denoiser
        from stages.towers.store import load_clap, load_imagebind

        where = device()
        clap, tokenizer = load_clap(models / "encoders")
        with torch.no_grad():
            self._empty = clap.token_features(tokenizer([""]))[0]
        self._imagebind = load_imagebind(models / "encoders").to(where)
        if self.experiment == "a":
            trained = load_experiment_a(models / "experiment_a", models / "backbone")
            self._context, self._denoiser = trained.context, trained.denoiser
        else:
            self._context = load_experiment_b(models / "experiment_b").context
            self._denoiser = load_denoiser(models / "backbone").eval()
        self._denoiser.to(where)
        self._codec = load_codec(models / "codec").to(where)

    def __call__(
        self,
        text: str | None = None,
        image: str | Path | None = None,
        *,
        seed: int = 0,
        seconds: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Tensor:
        """Make one waveform `[samples]` at 16 kHz in [-1, 1]; `Run.request` says what is left out and refused.

        With a text or an image alone, its embedding stands for the average of both.
        """
        request = self.run.request(text, image, seconds=seconds, steps=steps, guidance_scale=guidance_scale)
        return self.make(request, seed)

    @torch.no_grad()
    def make(self, request: Request, seed: int = 0) -> Tensor:
        """Make one waveform as `__call__` does. Raises ValueError for a seed below 0."""
        from stages.towers import imagebind as ib

        if seed < 0:
            raise ValueError(f"--seed {seed}: give 0 or more")
        embedded = []
        if request.text is not None:
            embedded.append(ib.embed_texts(self._imagebind, ib.tokenize([request.text])).cpu())
        if request.image is not None:
            embedded.append(ib.embed_images(self._imagebind, request.image[None]).cpu())
        channels, height, width = self._codec.latent_shape
        latents = sample_latents(
            self._denoiser,
            self._context(embedded[0], embedded[-1]),
            self._empty,
            seeds=[derive_seed(seed, "generate")],
            latent_shape=(channels, height, width if request.seconds is None else latent_width(request.seconds)),
            sampler=self.run.params.sample.sampler,
            steps=request.steps,
            guidance_scale=request.guidance_scale,
            guidance_from_timestep=self.run.params.sample.guidance_from_timestep,
        )
        waveform = self._codec.decode(latents)[0].clamp(-1, 1)
        return waveform if request.seconds is None else waveform[: round(request.seconds * SAMPLE_RATE)]


def decibels(waveform: Tensor) -> float:
    """Root mean square of a waveform, in dB below full scale; -inf for silence."""
    return 20 * math.log10(level) if (level := float(waveform.square().mean().sqrt())) > 0 else -math.inf
