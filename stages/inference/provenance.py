"""Where a clip comes from: what it was asked for with, weights and code, kept in the clip's own file."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import replacing
from stages.tracking.revisions import git

if TYPE_CHECKING:
    from torch import Tensor

Record = dict[str, Any]
FORMATS = (".wav", ".flac")  # the same samples give the same bytes; Ogg streams carry random serial numbers
MAKER = "Bind-An-Audio"


def write_clip(path: str | Path, waveform: Tensor, record: Mapping[str, Any]) -> None:
    """Write a waveform `[samples]` within +-1 as 16 bits, `record` as JSON in the comment of the file's metadata.

    Raises ValueError for a name that ends in neither of `FORMATS`.
    """
    import soundfile

    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"--out {path}: give a name that ends in {' or '.join(FORMATS)}")
    kind = path.suffix[1:].upper()
    with (
        replacing(path) as partial,
        soundfile.SoundFile(partial, "w", SAMPLE_RATE, 1, "PCM_16", format=kind) as file,
    ):
        file.artist, file.comment = MAKER, json.dumps(record)
        file.write(waveform.numpy())
        file.close()  # before it is renamed


def read_record(path: str | Path) -> Record:
    """What `write_clip` kept in a file. Raises ValueError where the file is no clip or has no record."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            record = json.loads(file.comment) if file.artist == MAKER else None
    except (soundfile.LibsndfileError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a clip that can be read ({' '.join(str(error).split())})") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path}: holds no record of how it was made; was it made by `bind-an-audio generate`?")
    return record


def code_version() -> str:
    """Version of this package, with the commit where the code lies in git, `+changed` where it is not that commit's."""
    version, root = importlib.metadata.version("bind-an-audio"), Path(__file__).parents[2]
    if (root / ".git").exists():
        with suppress(ValueError, OSError):
            changed = git("status", "--porcelain", "--", "stages", "bind_an_audio", folder=root).strip()
            commit = git("rev-parse", "--short=12", "HEAD", folder=root).strip()
            return f"{version} {commit}{'+changed' if changed else ''}"
    return version


def of_two_runs(root: Path, weights: Mapping[str, str]) -> str | None:
    """One line where dvc.lock says that some of these weights were not made with the others; else None.

    So it is while a run replaces them one after the other, and after one that was cut off.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages = YAML(typ="safe").load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        locked = [
            (stage, {one["path"]: one.get("md5") for one in entry.get("outs", [])}, entry.get("deps", []))
            for stage, entry in stages.items()
        ]
    except (OSError, YAMLError, KeyError, TypeError, AttributeError):
        return None
    made = {path: md5 for _, outs, _ in locked for path, md5 in outs.items()} | dict(weights)
    for stage, outs, deps in locked:
        if stage != "embed" and not outs.keys() & weights.keys():
            continue
        read = {one["path"]: one.get("md5") for one in deps if not one["path"].startswith("stages/")}
        for path, md5 in {**read, **outs}.items():
            if made.get(path, md5) != md5:
                return (
                    f"{root / path} is not what dvc.lock has at stage {stage}: these weights are of two runs; is one "
                    "under way or cut off? `dvc repro` finishes it, `dvc checkout` goes back to the last whole one"
                )
    return None
