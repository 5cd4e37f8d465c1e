"""`bind-an-audio deps`: hold dvc.yaml against the code, and with `--write` bring its `deps` and `params` in step.

A stage depends on every file below `stages/` that its script imports, directly or not, and on every data file that a
module names beside itself; a section of params.yaml counts where the code takes it from `load_params()` or a `Params`.
The imports are read from the source (also those inside functions), nothing is run. Left out by rule are the rooms that
cannot change an output, and an `__init__.py` that holds a docstring and nothing else:

- `plumbing/`: progress bars, devices, the cluster, how a program starts and fails.
- `tracking/`: what MLflow and `metrics/machines.json` are told once a stage's outputs stand.
- `params/`: it refuses values and alters none (a test compares); the values themselves stand in params.yaml.
"""

from __future__ import annotations

import argparse
import ast
import io
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from stages.formats.files import write_text
from stages.params.schema import Params

PIPELINE = Path("dvc.yaml")
STUDY = Path("studies/dvc.yaml")  # its commands begin with `cd .. &&`, its paths with `../`
CHANGE_NO_OUTPUT = ("stages/plumbing/", "stages/tracking/", "stages/params/")
NO_DATA = {".py", ".pyc"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--write`."""
    parser.add_argument("--write", action="store_true", help="change dvc.yaml instead of failing where it is amiss")


def main(arguments: argparse.Namespace) -> None:
    """Print what dvc.yaml, and that of the study where there is one, lacks and has too much.

    Raises ValueError where there is something and it shall not be written, and where a stage cannot be checked.
    """
    for pipeline in filter(Path.is_file, (PIPELINE, STUDY)):
        text = pipeline.read_text(encoding="utf-8")
        mended, changes = in_step(text)
        print("\n".join(changes) or f"{pipeline} is in step with the code")
        if mended != text and not arguments.write:
            raise ValueError(f"{pipeline}: not in step with the code; run `bind-an-audio deps --write` and commit it")
        if mended != text:
            write_text(pipeline, mended)


def in_step(text: str, root: Path = Path(".")) -> tuple[str, list[str]]:
    """Return dvc.yaml's `text` with each stage's files and sections as the code has them, and one line a change.

    Lists that are complete stay as they are; in the others, code stands first and sorted. An entry takes the comment
    on its line along. Raises ValueError for a stage whose command is no `python -m`.
    """
    layout = YAML()  # keeps comments and quotes
    layout.preserve_quotes, layout.width = True, len(text)
    layout.indent(mapping=2, sequence=4, offset=2)
    pipeline, changes = layout.load(text), []
    for stage, entry in pipeline["stages"].items():
        if "code" in (entry.get("meta") or {}):
            continue  # hashed by the stage that it names
        up = "../" if str(entry["cmd"]).startswith("cd .. && ") else ""
        command = str(entry["cmd"]).removeprefix("cd .. && ").split()
        if command[:2] != ["python", "-m"]:
            raise ValueError(f"{PIPELINE}: {stage}.cmd: {entry['cmd']}; must start with `python -m`")
        code, sections = code_dependencies(command[2], root), sections_read(command[2], root)
        deps, params = (entry.get(key, CommentedSeq()) for key in ("deps", "params"))
        params = params[0]["../params.yaml"] if up else params
        missing = sections - {name.split(".")[0] for name in params}
        data = [name for name in deps if not name.startswith(f"{up}stages/")]
        named = [name for name in params if name.split(".")[0] in sections]
        for key, here, wanted in (
            ("deps", deps, [*(up + name for name in sorted(code)), *data]),
            ("params", params, [*named, *sorted(missing)]),
        ):
            changes += [f"{stage}: {key}: remove - {name}" for name in here if name not in wanted]
            changes += [f"{stage}: {key}: add    - {name}" for name in wanted if name not in here]
            if set(here) != set(wanted):
                comments = {name: here.ca.items.get(place) for place, name in enumerate(here)}
                entry.setdefault(key, here)
                here[:] = wanted
                here.ca.items.clear()
                here.ca.items.update((place, comments[name]) for place, name in enumerate(here) if comments.get(name))
    written = io.StringIO()
    layout.dump(pipeline, written)
    return written.getvalue() if changes else text, sorted(changes)


def code_dependencies(module: str, root: Path = Path(".")) -> set[str]:
    """Return the files, relative to `root`, that `python -m <module>` may execute or read, but for neutral rooms."""
    found: set[str] = set()
    waiting = [_module_file(module, root)]
    while waiting:
        file = waiting.pop()
        if file is None or (name := file.relative_to(root).as_posix()) in found or name.startswith(CHANGE_NO_OUTPUT):
            continue
        facts = _facts(file.read_text(encoding="utf-8"))
        if file.name == "__init__.py" and facts.docstring_alone:
            continue
        beside = (path for path in file.parent.iterdir() if path.is_file() and path.suffix not in NO_DATA)
        found |= {name, *(path.relative_to(root).as_posix() for path in beside if path.name in facts.literals)}
        waiting += [_module_file(imported, root) for imported in facts.imports]
    return found


def sections_read(module: str, root: Path = Path(".")) -> set[str]:
    """Return the sections of params.yaml that a stage's code takes from `load_params()` or from a `Params`."""
    names = [name for name in code_dependencies(module, root) if name.endswith(".py")]
    return {section for name in names for section in _facts((root / name).read_text(encoding="utf-8")).sections}


class _Facts(NamedTuple):
    """What a module's text says."""

    docstring_alone: bool
    imports: set[str]
    literals: set[Any]
    sections: set[str]


@cache
def _facts(text: str) -> _Facts:
    tree = ast.parse(text)
    literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    docstring_alone = all(isinstance(statement, ast.Expr) for statement in tree.body)
    return _Facts(docstring_alone, imported_modules(tree), literals, _sections_of(tree))


def imported_modules(tree: ast.Module) -> set[str]:
    """Return dotted names below `stages` that may be modules: `from stages.towers import clap` gives both."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:  # relative ones are refused by ruff
            names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    stages = {name for name in names if name.split(".")[0] == "stages"}
    # Importing a.b.c runs the packages a and a.b first.
    return {".".join(name.split(".")[:length]) for name in stages for length in range(1, name.count(".") + 2)}


def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def _sections_of(tree: ast.Module) -> set[str]:
    nodes = list(ast.walk(tree))
    assigned = [node.targets for node in nodes if isinstance(node, ast.Assign) and _is_load_params(node.value)]
    holders = {target.id for targets in assigned for target in targets if isinstance(target, ast.Name)}
    annotated = ((node.arg, node.annotation) for node in nodes if isinstance(node, ast.arg))
    holders |= {name for name, kind in annotated if isinstance(kind, ast.Name) and kind.id == "Params"}
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and node.attr in Params.model_fields
        and (_is_load_params(node.value) or (isinstance(node.value, ast.Name) and node.value.id in holders))
    }


def _is_load_params(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_params"
