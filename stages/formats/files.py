"""Files that appear whole or not at all: everything is written beside its place and renamed into it."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROBE = 1 << 20  # bytes


class UnwritableError(OSError, ValueError):
    """A file cannot be written: one line with its path, the reason and what is free on its disk."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file path beside `path`; rename it into place when the block ends well.

    Raises UnwritableError where the block fails as the disk is full or the folder cannot be written.
    """
    path = Path(path)
    with _beside(path) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` when the block ends well.

    Raises UnwritableError as `replacing` does.
    """
    path = Path(path)
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
    except ValueError:
        raise
    except Exception as error:
        # Asked before the temporary file goes, which would make room again.
        reason = write_fault(error, path.parent)
        if reason:
            raise UnwritableError(f"{path}: cannot be written ({reason}){_free(path)}") from error
        raise
    finally:
        _remove(temporary)


def write_fault(error: Exception, folder: Path) -> str:
    """Why nothing can be written into a folder; "" where it can. Libraries hide the system's reason in their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return os.strerror(error.errno)
    if "(os error 28)" in str(error):  # of writers in Rust
        return os.strerror(errno.ENOSPC)
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            written = probe.write(bytes(PROBE))
            # A write that fits in part succeeds in part.
            probe.write(bytes(PROBE - (written or 0)))
    except OSError as fault:
        return fault.strerror or str(fault)
    return ""


def _free(path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return (
        f"; {shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there: make room or give leave to write, run again"
    )


def _remove(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    with suppress(OSError):
        temporary.unlink()


def printable(text: str) -> str:
    """Spell out control characters and halves of characters: no name or caption steers a terminal or ends a program."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON; keys stay in the order given. NaN is refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read one JSON file. Raises ValueError naming the file that holds none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON in UTF-8 ({error}); `dvc checkout` or its stage brings it back") from None


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, sorted by `id` where rows have one."""
    ordered = sorted(rows, key=lambda row: str(row.get("id", "")))
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(map(jsonl_line, ordered))


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
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON in UTF-8 ({error}); mend or remove it") from None
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


def read_tsv(path: str | Path) -> list[dict[str, str]]:
    """Read rows as `write_tsv` writes them, without quoting; what a line lacks is "". ValueError names what is none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: no table in UTF-8 ({error}); `dvc checkout` or its stage brings it back") from None
