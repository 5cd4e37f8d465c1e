from pathlib import Path

import pytest
import yaml

from stages.commands.deps import NO_DATA, code_dependencies, in_step, sections_read
from stages.commands.main import main
from stages.params.schema import load_params
from tests.pipeline_diagram import diagram

ROOT = Path(__file__).parent.parent


@pytest.fixture
def pipeline():
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def house(tmp_path):
    """A small house: one stage, two rooms, one table."""
    files = {
        "stages/__init__.py": '"""Docstring only."""\n',
        "stages/bake.py": "from stages.oven import heat\nfrom stages.params.schema import load_params\n"
        "def main():\n    params = load_params()\n    print(params.codec, load_params().embed)\n",
        "stages/oven/__init__.py": "",
        "stages/oven/heat.py": "def warm():\n    from stages.oven import stones\n    return open('heat.tsv')\n",
        "stages/oven/heat.tsv": "degrees\n",
        "stages/oven/unread.tsv": "nothing\n",
        "stages/oven/stones.py": "import stages.wood\nstone = 1\n",
        "stages/wood/__init__.py": "import stages.formats.files\n",
        "stages/wood/unused.py": "",
        "stages/plumbing/__init__.py": "x = 1\n",
        "stages/params/schema.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["dvc.yaml", "studies/dvc.yaml"])
def test_dvc_yaml_names_what_each_stage_imports_and_reads(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert in_step(text, ROOT) == (text, []), "run `bind-an-audio deps --write`"


def test_every_stage_says_what_it_does(pipeline):
    assert [name for name, entry in pipeline["stages"].items() if not entry.get("desc")] == []


def test_the_docs_diagram_is_the_pipelines():
    assert diagram(ROOT) in (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")


def test_no_stage_depends_on_a_folder_around_several_outputs(pipeline):
    """Git keeps a .gitignore in such a folder: every fresh clone would find the folder there, changed."""

    def paths(entry, *keys):
        return [
            path
            for key in keys
            for item in entry.get(key, [])
            for path in ([item] if isinstance(item, str) else item)
            if not path.startswith("$")
        ]

    outputs = {path for entry in pipeline["stages"].values() for path in paths(entry, "outs", "metrics", "plots")}
    for name, entry in pipeline["stages"].items():
        for path in paths(entry, "deps"):
            inside = sorted(output for output in outputs if output.startswith(f"{path}/"))
            assert not inside, f"{name}: name {', '.join(inside)} instead of {path}"


def test_every_script_is_a_stage(pipeline):
    scripts = {f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py")} - {"stages.__init__"}
    study = yaml.safe_load((ROOT / "studies/dvc.yaml").read_text(encoding="utf-8"))
    entries = [*pipeline["stages"].values(), *study["stages"].values()]
    assert scripts == {entry["cmd"].split("python -m ")[1].split()[0] for entry in entries}


def test_every_data_file_of_the_rooms_is_read_by_a_module_beside_it():
    modules = [path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "stages").rglob("*.py")]
    read = set().union(*(code_dependencies(module.replace("/", "."), ROOT) for module in modules))
    kept = (path for path in (ROOT / "stages").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = (path for path in kept if path.suffix not in NO_DATA)
    assert {path.relative_to(ROOT).as_posix() for path in files} - read == set()


def test_every_section_of_params_is_read_by_a_stage(pipeline):
    named = {name.split(".")[0] for entry in pipeline["stages"].values() for name in entry.get("params", [])}
    assert named == set(type(load_params(ROOT / "params.yaml")).model_fields)


def test_the_closure_follows_imports_inside_functions_and_tables(house):
    assert code_dependencies("stages.bake", house) == {
        "stages/bake.py",
        "stages/oven/heat.py",
        "stages/oven/heat.tsv",
        "stages/oven/stones.py",
        "stages/wood/__init__.py",
    }


def test_sections_are_found_by_name_and_by_call(house):
    assert sections_read("stages.bake", house) == {"codec", "embed"}


PIPELINE = """\
# Bread.
stages:
  bake:
    cmd: python -m stages.bake
    deps:
      - stages/bake.py  # the script
      - stages/wood/unused.py
      - stages/oven/heat.py
      # What is baked:
      - data/flour
      - ${codec.weights}
    params:
      - codec.seed
      - judges
    outs:
      - data/bread
  knead:
    cmd: python -m stages.bake now
    deps:
      - stages/wood/__init__.py
      - stages/oven/stones.py
      - stages/oven/heat.tsv
      - stages/oven/heat.py
      - stages/bake.py
    params: [codec, embed]
    outs: [data/dough]
"""
MENDED = """\
# Bread.
stages:
  bake:
    cmd: python -m stages.bake
    deps:
      - stages/bake.py  # the script
      - stages/oven/heat.py
      # What is baked:
      - stages/oven/heat.tsv
      - stages/oven/stones.py
      - stages/wood/__init__.py
      - data/flour
      - ${codec.weights}
    params:
      - codec.seed
      - embed
    outs:
      - data/bread
""" + PIPELINE[PIPELINE.index("  knead:") :]


def test_the_lists_are_mended_and_all_else_stays(house):
    mended, changes = in_step(PIPELINE, house)
    assert mended == MENDED
    assert changes == [
        "bake: deps: add    - stages/oven/heat.tsv",
        "bake: deps: add    - stages/oven/stones.py",
        "bake: deps: add    - stages/wood/__init__.py",
        "bake: deps: remove - stages/wood/unused.py",
        "bake: params: add    - embed",
        "bake: params: remove - judges",
    ]
    assert in_step(mended, house) == (mended, [])


def test_the_command_fails_until_it_has_written(house, monkeypatch, capsys):
    monkeypatch.chdir(house)
    Path("dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    with pytest.raises(ValueError, match=r"not in step .* run `bind-an-audio deps --write`"):
        main(["deps"])
    assert "bake: deps: remove - stages/wood/unused.py" in capsys.readouterr().out
    assert Path("dvc.yaml").read_text(encoding="utf-8") == PIPELINE
    main(["deps", "--write"])
    assert Path("dvc.yaml").read_text(encoding="utf-8") == MENDED
    main(["deps"])


@pytest.mark.parametrize(
    ("old", "new"),
    [("[codec, embed]", "[codec]"), ("    params: [codec, embed]\n", "")],
)
def test_lists_on_one_line_and_missing_ones_are_mended_too(house, old, new):
    mended = yaml.safe_load(in_step(MENDED.replace(old, new), house)[0])
    assert mended["stages"] == yaml.safe_load(MENDED)["stages"]


def test_a_stage_that_is_no_module_is_named(house):
    with pytest.raises(ValueError, match=r"bake\.cmd: bash bake\.sh; must start with `python -m`"):
        in_step(PIPELINE.replace("python -m stages.bake\n", "bash bake.sh\n"), house)
