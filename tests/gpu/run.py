"""The full size on a card: time, peak memory and the distance from the CPU's results, in one go.

Command: `python -m tests.gpu.run [--out gpu.json] [--folder FOLDER] [--seconds 480]`, from the repository's root.
Writes:  the JSON, anew after each step; into FOLDER 16 GB (left out: a temporary one, removed at the end)
Runtime: at most 8 minutes; what no longer fits is skipped. It needs no network, data or weights (they are random, in
the published formats and sizes), no pytest, DVC or MLflow.

A card's memory is held to 16 GB. Each step fails on its own. A difference is the largest one from the CPU's float32, as
a share of the largest value: at most 1e-3 is expected of float32, where a mistake would show far above.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CARD_GIGABYTES = 16.0
SECONDS = 480.0
# What is imported, by the names that pip has for it.
NEEDED = {
    **{name: name for name in ("accelerate", "diffusers", "einops", "ftfy", "iopath", "librosa", "numpy", "psutil")},
    **{name: name for name in ("pydantic", "regex", "safetensors", "simplemma", "soundfile", "soxr", "timm", "torch")},
    **{name: name for name in ("torchaudio", "torchvision", "tqdm", "transformers")},
    **{"imagebind": "imagebind-unofficial", "PIL": "pillow", "ruamel": "ruamel.yaml", "yaml": "pyyaml"},
}
Numbers = dict[str, Any]
# A step, and for how many seconds there must be time for it to begin.
Step = tuple[Callable[[], Numbers], float]


def main() -> None:
    """Say what is missing, or measure everything and write it."""
    parser = argparse.ArgumentParser(description="The full size on a card, measured.")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--folder", type=Path, help="an empty one to work in (left out: a temporary one)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="what has no time left is skipped")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if absent := [package for name, package in NEEDED.items() if find_spec(name) is None]:
        sys.exit(f"missing: {' '.join(absent)}; `pip install -c constraints.txt {' '.join(absent)}`")
    import torch

    os.environ.setdefault("BIND_AN_AUDIO_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
    from tests.gpu import steps

    out = arguments.out.absolute()
    with tempfile.TemporaryDirectory(prefix="gpu-") as temporary:
        os.chdir(arguments.folder or temporary)
        results = measure(steps.at_full_size(), arguments.seconds - (time.monotonic() - begun), out)
        os.chdir(out.parent)
    sys.exit(any("error" in found for found in results["steps"].values()))


def measure(steps: Mapping[str, Step], seconds: float, out: Path) -> Numbers:
    """Take each step in the working folder, print a line of it, and write what is known so far; returns all of it."""
    from stages.formats.files import write_json

    hold_to(CARD_GIGABYTES)
    results: Numbers = {"machine": machine(), "steps": {}}
    end = time.monotonic() + seconds
    for name, (step, needs) in steps.items():
        begun = time.monotonic()
        if (left := end - begun) < needs:
            found: Numbers = {"skipped": f"{left:.0f} s are left, it needs about {needs:.0f}"}
        else:
            found = taken(step, left) | {"whole_step_s": round(time.monotonic() - begun, 1)}
        results["steps"][name] = found
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}", flush=True)
        write_json(out, results)
    return results


def taken(step: Callable[[], Numbers], seconds: float) -> Numbers:
    """What the step found; what went wrong with it is printed and named, and its memory is free again."""
    try:
        with at_most(seconds):
            found = step()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    gc.collect()
    return found


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where the block is still running after so long."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped: the {seconds:.0f} s that were left are over")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hold_to(gigabytes: float) -> None:
    """Let torch take so much of the card and no more."""
    import torch

    if torch.cuda.is_available():
        share = gigabytes * 1e9 / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))


def machine() -> Numbers:
    """What it runs on."""
    import torch

    card = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    held = CARD_GIGABYTES if card else None
    return {
        "card": card,
        "held_to_gb": held,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
