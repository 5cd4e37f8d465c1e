"""How every stage and command starts: what is no fault of the program ends in one line and exit code 1."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from stages.formats.files import printable, write_fault
from stages.plumbing.environment import cache_folder
from stages.plumbing.live import followed

LONGEST_LINE = 1000  # characters; some messages repeat what they found


def run(main: Callable[[], None], *words: str) -> None:
    """Start a stage as `run_command` does, but first refuse every word on the command line except `words`.

    Without such a word it is the pipeline's run of the stage, and MLflow follows it: of several processes, the first.
    """
    stage = Path(sys.argv[0]).stem

    def checked() -> None:
        if unknown := [word for word in sys.argv[1:] if word not in words]:
            known = f"takes {', '.join(words)} alone" if words else "takes no arguments"
            raise ValueError(f"{unknown[0]}: {stage} {known}; values stand in params.yaml")
        with nullcontext() if sys.argv[1:] or os.environ.get("RANK", "0") != "0" else followed(stage):
            main()

    run_command(checked)


def keep_freed_memory() -> None:
    """Let glibc keep a freed tensor's pages: fetching them anew took a tenth of an update, half of BigVGAN's time."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 256 * 2**20)  # M_MMAP_THRESHOLD of mallopt(3)
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def run_command(main: Callable[[], None]) -> None:
    """Call `main()`; print a user's mistake or the machine's trouble as one line on stderr and exit with 1.

    That is a ValueError, an OSError, or a library's error that says what an OSError would (a full disk). Anything else
    keeps its traceback, with `BIND_AN_AUDIO_TRACEBACK=1` all do. SIGINT and SIGTERM end in 130 and 143, files removed.
    """

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with suppress(ValueError):  # no thread but the first may
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
    keep_freed_memory()
    try:
        main()
    except KeyboardInterrupt as stop:
        print(f"error: stopped by {stop}; what is done is kept, the same command goes on from there", file=sys.stderr)
        raise SystemExit(128 + getattr(signal, str(stop), signal.SIGINT)) from None
    except Exception as error:
        line = _one_line(error)
        if line is None or os.environ.get("BIND_AN_AUDIO_TRACEBACK") == "1":
            raise
        print(f"error: {shown(line)}", file=sys.stderr)
        raise SystemExit(1) from None


def shown(message: str) -> str:
    """A message as one line of some 1,000 characters, the middle left out, that steers no terminal."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"


def _one_line(error: Exception) -> str | None:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename}: no such file; has the stage that writes it run (`dvc repro`)?"
    # Many libraries hide a full disk in an error of their own; what they leave may be gone by now, and there is room.
    folders = filter(Path.is_dir, (Path.cwd(), cache_folder()))
    hidden = any(write_fault(error, folder) for folder in folders)
    if (hidden or isinstance(error, PermissionError)) and not isinstance(error, ValueError):
        remedy = "is the disk full or write-protected? Make room (`df -h`), run again"
        return f"{getattr(error, 'filename', None) or Path.cwd()}: cannot be written ({error}); {remedy}"
    if type(error).__name__ == "SafetensorError":
        return f"a file of weights is damaged ({error}); `dvc status` names it, `dvc checkout --force` brings it back"
    return str(error) or type(error).__name__ if isinstance(error, (ValueError, OSError)) else None
