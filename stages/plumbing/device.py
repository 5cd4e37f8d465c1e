"""Where networks run: `BIND_AN_AUDIO_DEVICE`, a matter of speed and not of results, so no param."""

from __future__ import annotations

import os


def device() -> str:
    """`cpu` unless the environment names another: `cuda`, `cuda:1`, `mps`.

    For CUDA the workspace setting is made that deterministic matrix products need, unless it is set already; call
    this before anything else uses the GPU. Raises ValueError for a device that torch does not have here.
    """
    import torch

    name = os.environ.get("BIND_AN_AUDIO_DEVICE", "cpu")
    if name.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(name.split(":")[0], False):
        there = ", ".join(filter(here.get, here))
        raise ValueError(f"BIND_AN_AUDIO_DEVICE={name}: torch has no such device here; it has {there}")
    return name
