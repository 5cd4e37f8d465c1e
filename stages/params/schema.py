"""The schema of params.yaml: one frozen section per stage, no defaults, unknown keys rejected.

Every value that changes a result stands in params.yaml and arrives in a stage as one of these sections.
A preset (`presets/*.yaml`) is a whole params.yaml and is held against the same schema by a test.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.params.data import Decompose, Images, Prepare, Quality
from stages.params.experiments import Embed, Evaluate, Sample, TrainA, TrainB
from stages.params.models import (
    LaionClapJudges,
    PublishedBackbone,
    PublishedCodec,
    PublishedEncoders,
    TrainedBackbone,
    TrainedCodec,
    TrainedEncoders,
    TrainedJudges,
)
from stages.params.section import Section


class Params(Section):
    """The whole of params.yaml."""

    prepare: Prepare
    decompose: Decompose
    images: Images
    quality: Quality
    encoders: Annotated[TrainedEncoders | PublishedEncoders, Field(discriminator="source")]
    judges: Annotated[TrainedJudges | LaionClapJudges, Field(discriminator="clap")]
    codec: Annotated[TrainedCodec | PublishedCodec, Field(discriminator="source")]
    backbone: Annotated[TrainedBackbone | PublishedBackbone, Field(discriminator="source")]
    embed: Embed
    train_a: TrainA
    train_b: TrainB
    sample: Sample
    evaluate: Evaluate

    def _check(self) -> None:
        if self.encoders.clap == self.judges.clap:
            raise ValueError(
                f"judges.clap and encoders.clap are both {self.judges.clap}; a judge must not score what it conditioned"
            )
        if self.images.backend == "corpus" and self.prepare.corpus != "audiofolder":
            raise ValueError(
                f"images.backend is corpus, but prepare.corpus={self.prepare.corpus} brings no pictures; only an "
                "audiofolder does, in a column `image`"
            )
        if self.backbone.source == "pretrained":
            if self.encoders.clap != "make_an_audio":
                raise ValueError(
                    "backbone.source is pretrained: it reads Make-An-Audio's own text features; set encoders.source: "
                    "pretrained and encoders.clap: make_an_audio, or train a backbone"
                )
            if self.codec.source != "pretrained":
                raise ValueError(
                    "backbone.source is pretrained: it denoises the published VAE's latents; set codec.source: "
                    "pretrained, or train a backbone"
                )


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises ValueError with one line that names the file, the key, the value and the remedy.
    """
    try:
        with open(path, encoding="utf-8") as file:
            # As DVC reads it: what is hashed as 10 or 2e-05 arrives as that number, written 010 or 2e-5 as it may be.
            raw = YAML(typ="safe").load(file)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; run from the repository's root") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8; save it as such") from None
    except (YAMLError, RecursionError, ValueError) as error:  # a number of thousands of digits
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}: not valid YAML{line}; mend the syntax there") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: holds no sections; take `git checkout {path}` or a file of presets/")
    try:
        return checked(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}{_way_back()}") from None


def checked(values: dict[str, Any]) -> Params:
    """The params of a whole parameter file's values. Raises ValueError with one line that names the key."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ValueError(_worst(error)) from None


def _way_back() -> str:
    """How to undo `dvc exp run -S KEY=VALUE`, which leaves a refused value in params.yaml; "" where that is not it."""
    experiment, root = os.environ.get("DVC_EXP_NAME"), os.environ.get("DVC_ROOT", "")
    if not experiment or Path(root).resolve() != Path.cwd():
        return ""
    return "; DVC has left it in params.yaml: `git checkout params.yaml && dvc checkout` takes it back"


def _worst(error: ValidationError) -> str:
    """Turn pydantic's complaints into one readable line: of an unknown key first, since it explains a missing one."""
    errors, known = error.errors(), _keys(Params)
    mistyped = [one for one in errors if one["type"] == "extra_forbidden" and _key(one["loc"]) not in known]
    first = (mistyped or errors)[0]
    key = _key(first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_nearest(key)}{more}"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        decides = Params.model_fields[key].discriminator
        given = first["input"].get(decides, "nothing") if isinstance(first["input"], dict) else first["input"]
        return f"{key}.{decides}: {' or '.join(_kinds(key))}, not {given!r}{more}"
    if first["type"] == "missing":
        return f"{key}: missing; every value stands in the file{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {message}{more}" if key else f"{message}{more}"
    return f"{key}: {message}, not {first['input']!r}{more}"


def _nearest(key: str) -> str:
    """What to do about an unknown key: take a known one like it, beside it, in its section or anywhere; or none."""
    section, last, known = key.split(".")[0], key.split(".")[-1], _keys(Params)
    if key in known:
        return "remove it: it belongs to another kind of this section"
    beside = [one for one in known if one.rpartition(".")[0] == key.rpartition(".")[0]]
    for pool in (beside, [one for one in known if one.startswith(f"{section}.")], known):
        if close := difflib.get_close_matches(last, {one.split(".")[-1] for one in pool}, n=1):
            found = [one for one in pool if one.split(".")[-1] == close[0]]
            return f"did you mean {' or '.join(close if pool is beside else found[:3])}?"
    return "remove it"


def _keys(section: Any, prefix: str = "") -> list[str]:
    """Every key of a section and of those below it, `train_b.epochs`, whichever kind a section is of."""
    found = []
    for name, field in section.model_fields.items():
        found.append(prefix + name)
        for kind in get_args(field.annotation) or (field.annotation,):
            if isinstance(kind, type) and issubclass(kind, Section):
                found += _keys(kind, f"{prefix}{name}.")
    return list(dict.fromkeys(found))


def _kinds(section: str) -> dict[str, Any]:
    """A section's classes by the value of the key that decides between them; empty where there is one class."""
    field = Params.model_fields[section]
    decides = field.discriminator
    if not isinstance(decides, str):
        return {}
    return {get_args(kind.model_fields[decides].annotation)[0]: kind for kind in get_args(field.annotation)}


def _key(location: tuple[int | str, ...]) -> str:
    """A location in dotted form, without the kind that pydantic puts between a section's name and the key."""
    if location[1:2] and location[0] in Params.model_fields and location[1] in _kinds(str(location[0])):
        location = location[:1] + location[2:]
    return ".".join(map(str, location))
