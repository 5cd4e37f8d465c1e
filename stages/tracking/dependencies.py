"""What a stage's result depends on, read from dvc.yaml and hashed in the working folder as DVC hashes it.

While a stage runs, dvc.lock still holds the entry of its last run, and in a temporary run that of another run: so
the hashes are taken from the files themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def stage_hashes(stage: str, folder: Path = Path(".")) -> dict[str, dict[str, Any]]:
    """`{"params": {name: value}, "deps": {path: md5}}` of a stage.

    Raises ValueError where dvc.yaml has no such stage or names a param that params.yaml does not hold.
    """
    entry, params = _entry(stage, folder)
    return {"params": {name: _value(params, name) for name in entry.get("params", [])}, "deps": _hashes(entry, folder)}


def read_and_written(stage: str, folder: Path = Path(".")) -> tuple[dict[str, Any], dict[str, str]]:
    """`stage_hashes`, and path -> md5 of the stage's outs, metrics and plots.

    Both are empty where the folder has no dvc.yaml that can be read or names no such stage there.
    """
    try:
        entry, _ = _entry(stage, folder)
        return stage_hashes(stage, folder), _hashes(entry, folder, ("outs", "metrics", "plots"))
    except (FileNotFoundError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return {"params": {}, "deps": {}}, {}


def content_md5(path: Path) -> str:
    """DVC's md5 of a file, or of a folder (`...dir`): that of the JSON list of its files' md5s and paths.

    It is "missing" where there is neither.
    """
    if path.is_file():
        with open(path, "rb") as file:
            # In pieces: published weights are larger than some memories.
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if not path.is_dir():
        return "missing"
    files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    listed = [{"md5": content_md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listed.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(listed, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _entry(stage: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stage's entry of dvc.yaml, `${section.key}` filled in, and the params that it was filled from."""
    stages, params = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8")) for name in ("dvc.yaml", "params.yaml")
    )
    if stage not in stages["stages"]:
        raise ValueError(f"dvc.yaml: no stage {stage}; it has {', '.join(stages['stages'])}")
    text = json.dumps(stages["stages"][stage])
    return json.loads(re.sub(r"\$\{([\w.]+)\}", lambda match: str(_value(params, match[1])), text)), params


def _hashes(entry: dict[str, Any], folder: Path, kinds: Sequence[str] = ("deps",)) -> dict[str, str]:
    named = [item for kind in kinds for item in entry.get(kind, [])]
    # `metrics/train_b.json: {cache: false}` is a mapping of the path to DVC's options.
    paths = [next(iter(item)) if isinstance(item, dict) else item for item in named]
    return {path: content_md5(folder / path) for path in paths}


def _value(params: dict[str, Any], name: str) -> Any:
    value: Any = params
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"params.yaml: {name}: missing; dvc.yaml names it")
        value = value[part]
    return value
