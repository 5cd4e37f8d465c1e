"""Files that appear whole or not at all: everything is written beside its place and renamed into it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file path beside `path`; rename it into place when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON; keys stay in the order given. NaN is refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read one JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, sorted by `id` where rows have one."""
    ordered = sorted(rows, key=lambda row: str(row.get("id", "")))
    write_text(path, "".join(jsonl_line(row) for row in ordered))


def jsonl_line(row: Mapping[str, Any]) -> str:
    """A row as `write_jsonl` writes it, for stages that write one by one."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read one JSON object a line, see `iterate_jsonl`."""
    return list(iterate_jsonl(path))


def iterate_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Read one JSON object a line, holding one at a time.

    Raises ValueError naming the file and the line that is not a JSON object.
    """
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error.msg}); mend or remove the line") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: not a JSON object; mend or remove the line")
            yield row


def write_tsv(path: str | Path, rows: Sequence[Mapping[str, Any]], header: Sequence[str] = ()) -> None:
    """Write rows with equal keys as tab-separated values; floats with six significant digits.

    `header` is needed where there may be no rows.
    """
    assert rows or header, "a table without rows has no header"
    header = list(header or rows[0])
    lines = ["\t".join(header)]
    for row in rows:
        assert list(row) == header, f"row keys {list(row)} differ from {header}"
        lines.append("\t".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()))
    write_text(path, "\n".join(lines) + "\n")
