"""Whether DVC takes a stage for stale after an edit of the code: whenever an output could change, and no more."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.commands.deps import CHANGE_NO_OUTPUT, NO_DATA

ROOT = Path(__file__).parent.parent
# What people run, and the pages of four commands.
NO_STAGE_IMPORTS = (
    *("stages/commands/", "stages/full_size/", "stages/inference/"),
    *("stages/report/contact_sheet.", "stages/report/dvc_plots."),
    *("stages/report/cards.", "stages/report/model_card.", "stages/report/dataset_card."),
    *("stages/study/estimates.", "stages/study/claims.", "stages/study/page.", "stages/study/spaces."),
)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The code in a DVC repository of its own, with the hashes of all stages' code taken: stage -> dependencies."""
    folder = tmp_path_factory.mktemp("hashes")
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "studies").mkdir()
    for name in ("dvc.yaml", "params.yaml", "studies/dvc.yaml", "studies/arms.yaml"):
        shutil.copy(ROOT / name, folder / name)
    with Repo.init(str(folder), no_scm=True) as repository:
        found = {
            stage.name: [dep for dep in stage.deps if _file(dep).startswith("stages/")]
            for stage in repository.index.stages
        }
        for deps in found.values():
            for dep in deps:
                dep.save()
        yield folder, found


def _file(dep):
    """A dependency's path from the root; the study's dvc.yaml lies one folder below it."""
    return dep.def_path.removeprefix("../")


def edited(file):
    """The file's text with one number or string of it changed, or one more line where it has none."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text + "\n"
    tree = ast.parse(text)
    numbers = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) in (int, float))
    for node in numbers:
        lines = text.splitlines(keepends=True)
        line = lines[node.lineno - 1].encode()
        lines[node.lineno - 1] = (line[: node.end_col_offset] + b"+1" + line[node.end_col_offset :]).decode()
        return "".join(lines)
    return text + "EDITED = 1\n"


def stale(stages, files):
    """Stage -> those of the files, relative to the repository, for whose edit DVC would run it again."""
    folder, dependencies = stages
    before = {file: (folder / file).read_bytes() for file in files}
    try:
        for file in files:
            (folder / file).write_text(edited(folder / file), encoding="utf-8")
        changed = {name: {_file(dep) for dep in deps if dep.status()} for name, deps in dependencies.items()}
    finally:
        for file, content in before.items():
            (folder / file).write_bytes(content)
    return {name: names for name, names in changed.items() if names}


def test_without_an_edit_no_stage_is_stale(stages):
    assert stale(stages, []) == {}


def test_an_edit_of_any_file_that_can_change_an_output_makes_some_stage_stale(stages):
    paths = sorted(path for path in (ROOT / "stages").rglob("*") if path.is_file())
    files = [path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts]
    rooms = [file for file in files if not file.startswith((*CHANGE_NO_OUTPUT, *NO_STAGE_IMPORTS))]
    wanted = {file for file in rooms if Path(file).suffix not in NO_DATA or not _only_words(ROOT / file)}
    assert wanted - set().union(*stale(stages, sorted(wanted)).values()) == set()


def _only_words(file):
    """Whether a module is a package's docstring and nothing else."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return file.name == "__init__.py" and all(isinstance(statement, ast.Expr) for statement in body)


@pytest.mark.parametrize(
    ("file", "again", "fresh"),
    [
        ("experiments/experiment_b.py", {"train_b", "sample_b"}, {"train_a", "sample_a", "sample_references"}),
        ("experiments/experiment_a.py", {"train_a", "sample_a"}, {"train_b", "sample_b", "sample_references"}),
        ("experiments/training_b.py", {"train_b"}, {"train_a", "sample_b"}),
        ("experiments/training_a.py", {"train_a"}, {"train_b", "sample_a"}),
        ("experiments/fusion.py", {"train_a", "train_b", "sample_a", "sample_b"}, {"embed", "sample_references"}),
        ("synthesis/bigvgan.py", {"codec", "sample_a"}, {"train_a", "train_b"}),
        ("synthesis/codec.py", {"codec", "backbone", "embed", "evaluate", "sample_b"}, {"train_a", "train_b"}),
        ("evaluation/probes.py", {"encoders"}, {"train_a", "train_b", "codec", "backbone"}),
        ("report/listening_page.css", {"evaluate"}, {"encoders", "judges", "train_a", "train_b", "sample_a"}),
        ("formats/files.py", {"prepare", "decompose", "images", "quality", "train_a", "evaluate"}, set()),
        ("language/rules.py", {"decompose"}, {"prepare", "images", "quality"}),
        ("train_b.py", {"train_b"}, {"train_a", "sample_b"}),
    ],
)
def test_an_edit_runs_again_what_reads_it_alone(stages, file, again, fresh):
    found = set(stale(stages, [f"stages/{file}"]))
    assert again <= found
    assert not fresh & found
