"""`bind-an-audio weights`: the published weights that a parameter file needs, listed, fetched and verified."""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.full_size.catalogue import Published, needed, verified
from stages.full_size.download import download
from stages.params.schema import load_params


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--preset", help="a file of presets/ by its name: full (default: params.yaml)")
    parser.add_argument("--list", action="store_true", help="only list and verify; fetch nothing")


def main(arguments: argparse.Namespace) -> None:
    """List what is needed, fetch what is missing, verify, and say what is left to be done by hand.

    Raises ValueError where a file is still missing or wrong at the end.
    """
    path = Path(f"presets/{arguments.preset}.yaml") if arguments.preset else Path("params.yaml")
    files = needed(load_params(path))
    if not files:
        print(f"{path} needs no published weights: everything is trained.")
        return
    states = [verified(file) for file in files]
    print(table(files, states))
    if not arguments.list:
        for number, file in enumerate(files):
            if states[number] != "here" and file.page is None:
                states[number] = fetched(file)
    left = [file for file, state in zip(files, states, strict=True) if state != "here"]
    for file in left:
        print(f"\nPut by hand: {file.path}\n  from {file.source}\n  ({file.what}, {size(file)}, {file.licence})")
    if left:
        raise ValueError(
            f"{len(left)} of {len(files)} files are missing or wrong: {', '.join(file.name for file in left)}"
        )
    folders = " ".join(sorted({str(file.folder) for file in files}))
    print(f"\nAll {len(files)} files are here. Let DVC track them: dvc add {folders}")


def fetched(file: Published) -> str:
    """Fetch one file; what went wrong is printed, so that the others still get their turn."""
    try:
        download(file)
    except ValueError as error:
        print(f"{file.path}: {error}")
        return "missing"
    return "here"


def table(files: list[Published], states: list[str]) -> str:
    """One line a file: state, size, licence, checksum, source."""
    rows = [("file", "state", "size", "licence", "sha256", "source")]
    for file, state in zip(files, states, strict=True):
        checksum = file.sha256[:12] if file.sha256 else "none known"
        rows.append((str(file.present() or file.path), state, size(file), file.licence, checksum, file.source))
    total = sum(file.megabytes for file in files) / 1000
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"{len(files)} files, {total:.1f} GB"])


def size(file: Published) -> str:
    """The file's size for a person to read."""
    return f"{file.megabytes:.0f} MB" if file.megabytes >= 1 else f"{1000 * file.megabytes:.0f} kB"
