"""Modules of installed packages whose `__init__` would fetch something, or fail, when it is imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any


def import_without_init(module: str, distribution: str) -> Any:
    """Import a module by its full name, without running the `__init__` of the packages that hold it.

    Raises ValueError where `distribution`, the package by its name for pip, is not installed.
    """
    holders = module.split(".")[:-1]
    for depth in range(1, len(holders) + 1):
        package = ".".join(holders[:depth])
        if package not in sys.modules:
            spec = importlib.util.find_spec(package)
            if spec is None:
                raise ValueError(
                    f"package {distribution} is not installed; `pip install --no-deps -r requirements-towers.txt`"
                )
            sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(module)
