"""Versions of the networks: a tag of git names one, and whoever can read the remote gets it by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.shell import sh

PIPELINE = yaml.safe_load((Path(__file__).parent.parent / "dvc.yaml").read_text(encoding="utf-8"))


def test_every_artifact_is_what_a_stage_writes():
    outs = {out for stage in PIPELINE["stages"].values() for out in stage.get("outs", []) if isinstance(out, str)}
    assert {one["path"] for one in PIPELINE["artifacts"].values()} <= outs


@pytest.mark.slow
def test_a_version_of_b_is_fetched_from_a_remote_by_its_tag(tmp_path):
    repository, weights = tmp_path / "repository", tmp_path / "repository/models/experiment_b/best.safetensors"
    weights.parent.mkdir(parents=True)
    sh(repository, "git", "init", "--quiet")
    sh(repository, "dvc", "init", "--quiet")
    storage = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {tmp_path / 'storage'}\n"
    (repository / ".dvc/config").write_text(storage)
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"artifacts": PIPELINE["artifacts"]}))
    for version in ("v1.0.0", "v1.1.0"):
        weights.write_text(version)
        sh(repository, "dvc", "add", "--quiet", "models/experiment_b")
        sh(repository, "dvc", "push", "--quiet")
        sh(repository, "git", "add", "--all")
        sh(repository, "git", "commit", "--quiet", "--message", version)
        sh(repository, "git", "tag", "--annotate", "--message", version, f"experiment-b@{version}")
    for version, words in (("v1.0.0", ["--rev", "v1.0.0"]), ("v1.1.0", [])):
        sh(tmp_path, "dvc", "artifacts", "get", "repository", "experiment-b", *words, "--out", version)
        assert (tmp_path / version / "best.safetensors").read_text() == version, "the newest where none is named"
