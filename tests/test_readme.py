"""README and docs: their commands are ones that there are, and the files that they name are there."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

from stages.commands.main import COMMANDS, ROOMS, main
from tests.readme_commands import NEEDS, blocks, commands, inline, walk

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
HAND_WRITTEN = [page for page in PAGES if page.name not in ("seeds.md", "study.md")]
# What a run writes, and git does not keep.
MADE = ("data/", "models/", "metrics/listening/", ".cache/", ".venv/", "comparison/", "dvc_plots/", "mlartifacts/")
PLACEHOLDERS = re.compile(r"\.\.\.|\[|\||…|<\w")  # of a usage line, which is no command


def given(program):
    """The words after a program's name wherever a page gives it as a command, with the page's name."""
    named = re.compile(rf"(?:[A-Z_]+=\S+ +)*{program} +(.+)")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for command in commands([*blocks(text), *inline(text)]):
            if (found := named.fullmatch(command)) and not PLACEHOLDERS.search(command):
                words = re.split(r" [<>|&;] ?", found[1])[0]
                yield pytest.param(words, id=f"{page.name}: {words}")


@pytest.mark.parametrize("words", [*given("bind-an-audio")])
def test_a_command_of_the_docs_is_understood(words, monkeypatch):
    if words in COMMANDS:  # the prose speaks of the command
        with pytest.raises(SystemExit, match=r"^0$"):
            main([words, "--help"])
        return
    called: list[object] = []
    for name in COMMANDS:
        module = importlib.import_module(f"stages.{ROOMS.get(name, 'commands')}.{name.replace('-', '_')}")
        monkeypatch.setattr(module, "main", called.append)
    main(shlex.split(words))
    assert len(called) == 1


@pytest.mark.parametrize("words", [*given("dvc")])
def test_a_command_of_dvcs_is_understood(words):
    from dvc.cli import parse_args

    if re.fullmatch(r"[a-z]+( [a-z]+)?", words):  # the prose speaks of the command
        with pytest.raises(SystemExit, match=r"^0$"):
            parse_args([*words.split(), "--help"])
    else:
        parse_args(shlex.split(words))


@pytest.mark.parametrize("words", [*given("mlflow")])
def test_a_command_of_mlflows_listens_on_loopback_alone(words):
    from mlflow.cli import cli

    name, *rest = shlex.split(words)
    command = cli.get_command(None, name)
    assert command.make_context(name, rest).params["host"] == "127.0.0.1"


def test_no_command_of_the_docs_or_the_code_lets_other_machines_in_but_rays_which_wants_a_token():
    others = [ROOT / "SECURITY.md", ROOT / "Makefile", *(ROOT / ".ci").iterdir()]
    for path in [*PAGES, *others, *(ROOT / "stages").rglob("*.py"), *(ROOT / "bind_an_audio").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"0\.0\.0\.0|\[::\]|--host|--bind|--listen|http\.server|share=True", text), path
        assert set(re.findall(r"mlflow (?:ui|server) (--[\w-]+)", text)) <= {"--backend-store-uri"}, path
        heads = [block for block in re.findall(r"(?ms)^```bash\n(.*?)^```", text) if "ray start --head" in block]
        assert all("RAY_AUTH_TOKEN=" in block for block in heads), path


def test_a_goal_of_make_a_module_and_a_test_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    goals = {word for one in given("make") for word in one.values[0].split() if re.fullmatch(r"[a-z]+", word)}
    assert {goal for goal in goals if not re.search(rf"(?m)^{goal}:", makefile)} == set()
    modules = {found[1] for one in given("python") if (found := re.match(r"-m ([\w.]+)", one.values[0]))}
    assert {module for module in modules if importlib.util.find_spec(module) is None} == set()
    tested = {word for one in given("pytest") for word in one.values[0].split() if word.endswith(".py")}
    assert {path for path in tested if not (ROOT / path).exists()} == set()
    assert {"repro", "study"} <= goals
    assert {"stages.decompose", "tests.gpu.run"} <= modules
    assert "tests/test_mel.py" in tested


def test_each_command_of_the_readme_is_of_the_walk_or_says_what_it_needs():
    """`tests/newcomer.sh` runs the walk."""
    walked = commands(walk(README).splitlines())
    there = commands([*blocks(README), *inline(README)])
    assert [one for one in there if one not in walked and one not in NEEDS] == []
    assert [one for one in NEEDS if one not in there] == []


def prose(page):
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose(page)) + re.findall(r'src="([^":]+)"', prose(page))
    assert [path for path in linked if not (page.parent / path).exists()] == []
    for path, place in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", prose(page)):
        headings = re.findall(r"(?m)^#+ (.*)$", prose(page.parent / path if path else page))
        assert place in [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings]


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.name)
def test_files_folders_and_tests_that_a_page_names_are_there(page):
    """As `stages/language/rules.py`, `synthesis/` or `test_mel.py::test_silence`."""
    known = {path.name for folder in ("", "stages", "tests") for path in (ROOT / folder).iterdir()}
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)(?:::(\w+))?`", prose(page))
    for path, test in named:
        if path.startswith(MADE) or not (path.endswith(".py") or ("/" in path and path.split("/")[0] in known)):
            continue
        there = [file for folder in ("", "stages/", "stages/*/", "tests/") for file in ROOT.glob(folder + path)]
        assert there, path
        assert not test or f"def {test}(" in there[0].read_text(encoding="utf-8"), f"{path}::{test}"


def test_the_images_of_the_readmes_examples_are_there():
    named = re.findall(r"docs/samples/[\w-]+/[\w.-]+", README)
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert len(named) > 60


def test_the_samples_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "docs/samples").rglob("*")) < 1.5e6


def test_the_citation_names_the_version_that_is_packaged():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert all(one.get("url", "").startswith("https://arxiv.org/") for one in citation["references"])
