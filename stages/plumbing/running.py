"""How every stage and command starts: a user's mistake ends in one line and exit code 1, not in a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Call `main()`; print a ValueError or a missing file as one line on stderr and exit with 1.

    `BIND_AN_AUDIO_TRACEBACK=1` shows the traceback all the same.
    """
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        if os.environ.get("BIND_AN_AUDIO_TRACEBACK") == "1":
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(1) from None


def _one_line(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename}: no such file; has the stage that writes it run (`dvc repro`)?"
    return " ".join(str(error).split())
