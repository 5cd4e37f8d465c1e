"""How every stage and command starts: what is no fault of the program ends in one line and exit code 1."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

# A disk that is full, over its quota or limit, or not to be written to.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
# The same in the words of libraries that raise errors of their own: safetensors, SQLite, torch.save, libsndfile.
DISK_WORDS = re.compile(
    "|".join(map(os.strerror, DISK)) + "|disk is full|disk I/O error|readonly database|unable to open database"
    r"|inline_container|PytorchStreamWriter|System error\.$"
)

# Of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def run(main: Callable[[], None], *words: str) -> None:
    """Start a stage as `run_command` does, but first refuse every word on the command line except `words`."""

    def checked() -> None:
        unknown = [word for word in sys.argv[1:] if word not in words]
        if unknown:
            known = f"takes {', '.join(words)} alone" if words else "takes no arguments"
            raise ValueError(f"{unknown[0]}: {Path(sys.argv[0]).stem} {known}; values stand in params.yaml")
        keep_freed_memory()
        main()

    run_command(checked)


def keep_freed_memory() -> None:
    """Let the C library give freed memory back to its own next request, not to the system, where it is glibc.

    By default it returns a large tensor's pages at once and gets them anew, zeroed, for the next: a tenth of a training
    update, and half of BigVGAN's time over many clips.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 256 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 2**30)


def run_command(main: Callable[[], None]) -> None:
    """Call `main()`; print a user's mistake or the machine's trouble as one line on stderr and exit with 1.

    That is a ValueError, an OSError, or a library's error that says what an OSError would (a full disk). Anything else
    is a fault of the program and keeps its traceback; `BIND_AN_AUDIO_TRACEBACK=1` shows it of all.
    """
    try:
        main()
    except Exception as error:
        line = _one_line(error)
        if line is None or os.environ.get("BIND_AN_AUDIO_TRACEBACK") == "1":
            raise
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
        raise SystemExit(1) from None


def _one_line(error: Exception) -> str | None:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename}: no such file; has the stage that writes it run (`dvc repro`)?"
    if (isinstance(error, OSError) and error.errno in DISK) or (
        not isinstance(error, ValueError) and DISK_WORDS.search(str(error))
    ):
        where = getattr(error, "filename", None) or Path.cwd()
        return (
            f"{where}: cannot be written ({error}); is the disk full or write-protected? Make room (`df -h`), run again"
        )
    return str(error) or type(error).__name__ if isinstance(error, (ValueError, OSError)) else None
