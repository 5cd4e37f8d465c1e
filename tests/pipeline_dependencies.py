"""Hold dvc.yaml against the code: which files a stage imports, directly or not, and which params it reads.

`python -m tests.pipeline_dependencies` prints, per stage, the lines that dvc.yaml lacks or has too many.

The imports are read from the source (also those inside functions), nothing is run. `stages/plumbing` is left out by
rule: only what cannot change an output lives there. So is an `__init__.py` that holds a docstring and nothing else.
A data file of a room counts as read by a module beside it that names the file in a string.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import yaml

from stages.params.schema import Params

PLUMBING = "stages/plumbing/"
NO_DATA = {".py", ".pyc"}


def code_dependencies(module: str, root: Path = Path(".")) -> set[str]:
    """Return the files, relative to `root`, that `python -m <module>` may execute or read below `stages/`."""
    found: set[str] = set()
    waiting = [_module_file(module, root)]
    while waiting:
        file = waiting.pop()
        if file is None or (name := file.relative_to(root).as_posix()) in found or name.startswith(PLUMBING):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"), name)
        if file.name == "__init__.py" and all(isinstance(statement, ast.Expr) for statement in tree.body):
            continue
        found.add(name)
        found.update(path.relative_to(root).as_posix() for path in _data_files(tree, file.parent))
        for imported in _imported_modules(tree, module_of(name)):
            waiting.append(_module_file(imported, root))
    return found


def data_files(root: Path = Path(".")) -> set[str]:
    """Return every file of the rooms that is not Python."""
    files = (path for path in (root / "stages").rglob("*") if path.is_file() and path.suffix not in NO_DATA)
    return {path.relative_to(root).as_posix() for path in files}


def sections_read(module: str, root: Path = Path(".")) -> set[str]:
    """Return the sections of params.yaml that a stage's code takes from `load_params()` or from a `Params`."""
    sections: set[str] = set()
    for name in code_dependencies(module, root):
        if name.endswith(".py"):
            sections |= _sections_of(ast.parse((root / name).read_text(encoding="utf-8")))
    return sections


def complaints(pipeline: dict[str, Any], root: Path = Path(".")) -> list[str]:
    """Return one line for each thing that dvc.yaml lacks or has too much."""
    lines = []
    for stage, entry in pipeline["stages"].items():
        command = entry["cmd"].split()
        if command[:2] != ["python", "-m"]:
            lines.append(f"{stage}: cmd: is {entry['cmd']!r}, must start with `python -m`")
            continue
        if not entry.get("desc"):
            lines.append(f"{stage}: desc: missing")
        wanted = code_dependencies(command[2], root)
        named = {dep for dep in entry.get("deps", []) if dep.startswith("stages/")}
        lines += [f"{stage}: deps: add    - {dep}" for dep in sorted(wanted - named)]
        lines += [f"{stage}: deps: remove - {dep}" for dep in sorted(named - wanted)]
        wanted = sections_read(command[2], root)
        named = {name.split(".")[0] for name in entry.get("params", [])}
        lines += [f"{stage}: params: add    - {name}" for name in sorted(wanted - named)]
        lines += [f"{stage}: params: remove - {name}" for name in sorted(named - wanted)]
    return lines


def module_of(file: str) -> str:
    """`stages/towers/clap.py` -> `stages.towers.clap`."""
    return file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imported_modules(tree: ast.Module, importer: str) -> set[str]:
    """Return dotted names below `stages` that may be modules: `from stages.towers import clap` gives both."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = importer.split(".")[: -node.level] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    stages = {name for name in names if name.split(".")[0] == "stages"}
    # Importing a.b.c runs the packages a and a.b first.
    return {".".join(name.split(".")[:length]) for name in stages for length in range(1, name.count(".") + 2)}


def _data_files(tree: ast.Module, folder: Path) -> list[Path]:
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    beside = (path for path in folder.iterdir() if path.is_file() and path.suffix not in NO_DATA)
    return [path for path in beside if path.name in words]


def _sections_of(tree: ast.Module) -> set[str]:
    holders = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_load_params(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    holders |= {
        node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name) and node.annotation.id == "Params"
    }
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in Params.model_fields
        and (_is_load_params(node.value) or (isinstance(node.value, ast.Name) and node.value.id in holders))
    }


def _is_load_params(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_params"


if __name__ == "__main__":
    print("\n".join(complaints(yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8")))) or "dvc.yaml is complete")
