"""The rooms below `stages/`: who may import whom, and that docs/architecture.md shows it as it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import networkx
import pytest

from stages.commands.deps import imported_modules

ROOT = Path(__file__).parent.parent
SCRIPTS = "scripts"
GROUND = {"tracking", "params", "formats", "plumbing"}  # under all others, and not drawn
ARCHITECTURE = ROOT / "docs/architecture.md"


@pytest.fixture(scope="module")
def arrows():
    """(importing file, room of it, room that it imports from) of every import between rooms, wherever it stands."""
    found = set()
    for path in sorted((ROOT / "stages").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        for module in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            imported = Path(*module.split(".")).with_suffix(".py")
            if (ROOT / imported).is_file() and room(imported) != room(Path(file)):
                found.add((file, room(Path(file)), room(imported)))
    return found


def room(file):
    return file.parts[1] if len(file.parts) > 2 else SCRIPTS


def test_no_room_and_no_script_imports_a_script(arrows):
    assert {file for file, _, imported in arrows if imported == SCRIPTS} == set()
    beside = {file for file in (ROOT / "stages").glob("*.py") for name in _imports_of(file) if name.count(".") == 1}
    assert beside == set()


def _imports_of(file):
    modules = imported_modules(ast.parse(file.read_text(encoding="utf-8")))
    return {name for name in modules if (ROOT / Path(*name.split(".")).with_suffix(".py")).is_file()}


def test_the_rooms_form_no_circle(arrows):
    graph = networkx.DiGraph((importer, imported) for _, importer, imported in arrows)
    assert list(networkx.simple_cycles(graph)) == []


def test_no_stage_imports_what_people_run(arrows):
    above = {"commands", "full_size", "inference"}
    assert {file for file, importer, imported in arrows if imported in above and importer not in above} == set()


def test_the_ground_rooms_import_each_other_alone(arrows):
    assert {
        (file, imported) for file, importer, imported in arrows if importer in GROUND and imported not in GROUND
    } == set()


def test_plumbing_stays_small():
    files = (ROOT / "stages/plumbing").glob("*.py")
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 400


def test_the_architecture_page_lists_every_room_from_the_top_down(arrows):
    listed = re.findall(r"(?m)^\| `(\w+)/` \|", ARCHITECTURE.read_text(encoding="utf-8"))
    rooms = {path.parent.name for path in (ROOT / "stages").glob("*/__init__.py")}
    assert sorted(listed) == sorted(rooms)
    upward = {(file, to) for file, of, to in arrows if of != SCRIPTS and listed.index(of) > listed.index(to)}
    assert upward == set()


def test_the_architecture_page_draws_the_imports_between_rooms(arrows):
    shown = networkx.DiGraph(
        (importer, imported) for _, importer, imported in arrows if not {importer, imported} & GROUND
    )
    graph = networkx.transitive_reduction(shown)
    drawn = re.findall(r"(?m)^    (\w+) --> (\w+)$", ARCHITECTURE.read_text(encoding="utf-8"))
    assert set(drawn) == set(graph.edges), "\n".join(
        f"    {first} --> {second}" for first, second in sorted(graph.edges)
    )
