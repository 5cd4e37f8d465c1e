"""`bind-an-audio storage-check`: a remote that works says so, one that does not says at which step."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from stages.commands import storage_check


@pytest.fixture
def repository(tmp_path, monkeypatch):
    from dvc.repo import Repo

    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with Repo.init(".", no_scm=True) as repo, repo.config.edit("local") as config:
        config["remote"] = {"shelf": {"url": str(tmp_path / "shelf")}, "other": {"url": str(tmp_path / "other")}}
        config["core"] = {"remote": "shelf"}
    return folder


def check(*words):
    parser = argparse.ArgumentParser()
    storage_check.add_arguments(parser)
    storage_check.main(parser.parse_args(list(words)))


def test_a_remote_that_works_says_so_and_the_users_folder_stays_as_it_is(repository, tmp_path, capsys):
    before = sorted(path for path in repository.rglob("*") if ".dvc/tmp" not in path.as_posix())
    check()
    assert "pushed, cache wiped, pulled, 3 hashes equal" in capsys.readouterr().out
    stored = [path for path in (tmp_path / "shelf").rglob("*") if path.is_file()]
    assert len(stored) == 4  # three files and the folder's list
    assert sorted(path for path in repository.rglob("*") if ".dvc/tmp" not in path.as_posix()) == before
    check("--remote", "other")
    assert (tmp_path / "other").is_dir()


def test_a_remote_that_loses_data_is_found_out(repository, tmp_path, monkeypatch):
    rmtree = shutil.rmtree

    def lose_too(path, *arguments, **more):
        rmtree(path, *arguments, **more)
        if Path(path).name == "folder":
            rmtree(tmp_path / "shelf")

    monkeypatch.setattr(shutil, "rmtree", lose_too)
    with pytest.raises(ValueError, match=r"remote shelf \(.*shelf\): pull failed: "):
        check()


def test_a_remote_that_cannot_be_written_is_found_out(repository, tmp_path):
    (tmp_path / "shelf").write_text("a file where a folder should be")
    with pytest.raises(ValueError, match=r"remote shelf \(.*shelf\): push failed: "):
        check()


def test_remotes_that_are_not_there_are_named(repository):
    with pytest.raises(ValueError, match="--remote=drive: no such remote; this repository has shelf, other"):
        check("--remote", "drive")
