"""README and docs: their commands are ones that there are, and the files that they name are there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from stages.commands.main import COMMANDS, ROOMS, main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACEHOLDERS = re.compile(r"\.\.\.|\[|\||…")  # of a usage line, which is no command


def commands():
    for page in PAGES:
        for block in re.findall(r"(?ms)^```bash\n(.*?)^```", page.read_text(encoding="utf-8")):
            for words in re.findall(r"(?m)(?:^|&& *)bind-an-audio +([^#&|\n]*)", block):
                if not PLACEHOLDERS.search(words):
                    yield pytest.param(words.strip(), id=f"{page.name}: {words.strip()}")


@pytest.mark.parametrize("words", [*commands()])
def test_a_command_of_the_docs_is_understood(words, monkeypatch):
    called: list[object] = []
    for name in COMMANDS:
        module = importlib.import_module(f"stages.{ROOMS.get(name, 'commands')}.{name.replace('-', '_')}")
        monkeypatch.setattr(module, "main", called.append)
    main(shlex.split(words))
    assert len(called) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^":]+)"', text)
    assert [path for path in linked if not (page.parent / path).exists()] == []


def test_the_images_of_the_readmes_examples_are_there():
    named = re.findall(r"docs/samples/[\w./-]+", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert len(named) > 60


def test_the_samples_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "docs/samples").rglob("*")) < 1.5e6


def test_the_citation_names_the_version_that_is_packaged():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert all(one.get("url", "").startswith("https://arxiv.org/") for one in citation["references"])
