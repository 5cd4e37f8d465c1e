"""What is known of a trained run before any network is loaded: its params, what it learned, and what may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE, VAE_DOWNSAMPLING
from stages.formats.files import read_json
from stages.language.text import content_lemmas, words
from stages.params.experiments import Sample
from stages.params.schema import load_params
from stages.synthesis.samplers import latent_width

if TYPE_CHECKING:
    from torch import Tensor

EVALUATION = Path("metrics/evaluation.json")
SCORE = "clap_score"
# Of a request, beside its text and image: what a clip's file remembers.
SETTINGS = ("seconds", "steps", "guidance_scale", "sampler", "guidance_from_timestep")
# 10 evaluations of the U-Net a clip in place of the 20 of params.yaml; docs/benchmarks.md has what that costs.
FAST: dict[str, Any] = {"sampler": "dpm_solver", "steps": 6, "guidance_from_timestep": 500}
TOLD_WORDS = 12  # of a run's vocabulary, to one who used none of it


def check_seed(seed: object) -> None:
    """Raise ValueError for what is no seed."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"--seed {seed!r}: give a whole number, 0 or more")


@dataclass(frozen=True)
class Request:
    """What a clip is asked for with, checked; made by `Run.request`.

    text, image: as they were given, or None; pixels: the image, `[3, 224, 224]` uint8; seconds: None for the length of
    the training clips; doubts: what the asker should know before hearing it, a line each.
    """

    text: str | None
    image: str | None
    pixels: Tensor | None
    seconds: float | None
    steps: int
    guidance_scale: float
    sampler: Literal["dpm_solver", "ddim"]
    guidance_from_timestep: int
    doubts: tuple[str, ...] = ()


class Run:
    """What is known of the trained run in a repository before any network is loaded.

    Its `params` decide how a clip is made where the asker does not say; `seconds` is the length of the clips that its
    networks learned. Raises ValueError where there are no params, or weights that are not there whole.

    Args:
        root: the repository, with `params.yaml` and `models/`.
        preset: a file of `presets/` by its name, whose params count instead.
    """

    def __init__(self, root: str | Path = ".", preset: str | None = None) -> None:
        self.root = Path(root)
        file = self.root / (f"presets/{preset}.yaml" if preset else "params.yaml")
        if not file.is_file():
            above = [folder for folder in self.root.resolve().parents if (folder / "params.yaml").is_file()]
            remedy = f"`cd {above[0]}`" if above else "clone the repository, `make repro` there and run from its root"
            raise ValueError(f"{file}: no such file; {remedy}")
        self.params = load_params(file)
        for name in ("encoders", "codec", "backbone"):
            if not (self.root / "models" / name / "config.json").is_file():
                raise ValueError(
                    f"{self.root / 'models' / name}: no trained weights there; run `dvc repro` or `dvc pull`, or wait "
                    "for the stage that is writing them"
                )
        self.trained = [name for name in ("a", "b") if (self.root / f"models/experiment_{name}/config.json").is_file()]
        width = read_json(self.root / "models/codec/config.json")["latent_shape"][2]
        self.seconds = width * VAE_DOWNSAMPLING * HOP_LENGTH / SAMPLE_RATE
        self.vocabulary, self.sources = self._learned()

    def _learned(self) -> tuple[list[str] | None, list[str]]:
        """The words of the captions that the towers were trained on, None of published ones, and the sources."""
        encoders, judges = self.root / "models/encoders", self.root / "models/judges/config.json"
        sources = read_json(judges).get("sources", []) if judges.is_file() else []
        if "clap" not in read_json(encoders / "config.json"):
            return None, sources
        pieces = (encoders / "vocab.txt").read_text(encoding="utf-8").split()
        return [piece for piece in pieces if len(piece) > 1 and piece.isalpha()], sources

    def better(self) -> tuple[str, str]:
        """The experiment whose clips the run's own evaluation scored higher, and in words why it is taken."""
        if not self.trained:
            raise ValueError(
                f"{self.root}/models/experiment_*: no trained weights there; run `dvc repro` or `dvc pull`"
            )
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
        sampler: Literal["dpm_solver", "ddim"] | None = None,
        guidance_from_timestep: int | None = None,
        fast: bool = False,
    ) -> Request:
        """Check what a clip is asked for with; what is left out is `FAST`'s if `fast`, else the run's own `sample`.

        Raises ValueError, named as the command's options: neither text nor image, a text without a word, an image that
        cannot be read, values out of range.
        """
        from stages.towers.imagebind import read_image

        if text is None and image is None:
            raise ValueError("--text and --image are both missing; give a text, an image or both")
        if text is not None and not (isinstance(text, str) and words(text)):
            raise ValueError(f"--text {text!r}: holds no word; describe the sound in English, or leave --text out")
        if image is not None and not isinstance(image, (str, Path)):
            raise ValueError(f"--image {image!r}: give the name of a file")
        given = {
            "steps": steps,
            "guidance_scale": guidance_scale,
            "sampler": sampler,
            "guidance_from_timestep": guidance_from_timestep,
        }
        chosen = {key: value for key, value in given.items() if value is not None}
        sample = self._sample((FAST if fast else {}) | chosen)
        doubts = self._unheard_of(text, image is not None) if text is not None else []
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
                raise ValueError(f"--seconds {seconds!r}: give a number")
            latent_width(seconds)
            if seconds > self.seconds:
                doubts.append(f"--seconds {seconds:g}: this run learned clips of {self.seconds:g} s")
        return Request(
            text=text,
            image=None if image is None else str(image),
            pixels=None if image is None else read_image(image),
            seconds=seconds,
            **{key: getattr(sample, key) for key in given},
            doubts=tuple(doubts),
        )

    def _sample(self, given: dict[str, Any]) -> Sample:
        """The run's `sample` section, what is `given` in its place. Raises ValueError naming what is wrong first."""
        try:
            return Sample.model_validate(self.params.sample.model_dump() | given)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            name = f"--{key.replace('_', '-')}" if key in ("steps", "guidance_scale") else key
            raise ValueError(f"{name} {first['input']!r}: {first['msg'].lower()}") from None

    def _unheard_of(self, text: str, has_image: bool) -> list[str]:
        """What of a text this run's captions never said; published towers have heard of everything."""
        if self.vocabulary is None:
            return []
        vocabulary, sources = self.vocabulary, self.sources
        said, known = content_lemmas(text), content_lemmas(" ".join(vocabulary))
        learned = f"this run learned {', '.join(sources) or 'other things'}"
        if said and not said & known:
            others = [word for word in vocabulary if content_lemmas(word) - content_lemmas(" ".join(sources))]
            some = ", ".join(others[:: max(1, len(others) // TOLD_WORDS)])
            return [f"--text {text!r}: no caption had any of these words; {learned}, in words such as {some}"]
        doubts = []
        if unknown := sorted(said - known):
            doubts.append(f"--text {text!r}: no caption had {', '.join(unknown)}")
        if sources and not has_image and not any(content_lemmas(source.replace("_", " ")) & said for source in sources):
            doubts.append(f"--text {text!r}: names no source, and no image shows one; {learned}")
        return doubts
