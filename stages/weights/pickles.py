"""Torch's pickled files, read without ever running what is written in them.

A pickle is a small program: it names functions and calls them. Checkpoints of Lightning carry trainer objects, whose
classes are unknown here and not needed, so a reader of our own puts an inert placeholder where a name stands that no
tensor is built from: nothing is imported and nothing is called. `torch.load(weights_only=True)` would refuse the file,
and its list of safe names must hold each of them beforehand; of the legacy format torch does not list them.
"""

from __future__ import annotations

import builtins
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

# Modules that a pickle with code in it calls and that no checkpoint needs.
RUNS_CODE = {
    "asyncio", "code", "commands", "ctypes", "importlib", "marshal", "multiprocessing", "nt", "os", "pickle", "pip",
    "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys", "urllib", "webbrowser",
}  # fmt: skip
RUNS_CODE_BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open"}
PLAIN_BUILTINS = {
    "bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "slice", "str", "tuple",
}  # fmt: skip
REBUILDING = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"}


class Placeholder:
    """Stands for an object of a class that is not loaded: it takes anything and does nothing."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> Placeholder:
        """Make one, whatever the constructor was to be given."""
        return object.__new__(cls)

    def _ignore(self, *_arguments: Any, **_named: Any) -> None:
        pass

    def __call__(self, *_arguments: Any, **_named: Any) -> Placeholder:
        """Be called without doing anything."""
        return self

    __init__ = __setstate__ = __setitem__ = append = extend = add = _ignore


def read_pickle(path: Path) -> Any:
    """What a `.pt`, `.pth` or `.ckpt` holds, tensors on the CPU; foreign objects are `Placeholder`s.

    Tensors of the zip format stay on disk until they are used. Raises ValueError for a file that is cut short, is no
    torch file, or names functions that only code in disguise needs.
    """
    import torch

    try:
        zipped = zipfile.is_zipfile(path)
        if zipped and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
            raise ValueError("a TorchScript program, not weights")
        return torch.load(path, map_location="cpu", weights_only=False, mmap=zipped, pickle_module=_Restricted)
    except _RunsCodeError as error:
        raise ValueError(
            f"{path}: names {error}, so it would run code when loaded; nothing was run; do not use this file"
        ) from None
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        size = path.stat().st_size / 1e6
        raise ValueError(
            f"{path}: no torch checkpoint, or one cut short after {size:.1f} MB ({reason}); get it again"
        ) from None


class _RunsCodeError(Exception):
    """A name that only a pickle with code in it has."""


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows what tensors are rebuilt from; every other name becomes a placeholder or, of some, ends the reading."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name by fixed lists: nothing is imported on a pickle's behalf."""
        import torch

        if module in ("builtins", "__builtin__") and name in PLAIN_BUILTINS:
            return getattr(builtins, name)
        if module.split(".")[0] in RUNS_CODE or (module in ("builtins", "__builtin__") and name in RUNS_CODE_BUILTINS):
            raise _RunsCodeError(f"{module}.{name}")
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in REBUILDING:
            return getattr(torch._utils, name)
        known = getattr(torch, name, None) if module == "torch" else None
        if known in (torch.Size, torch.device) or isinstance(known, torch.dtype):
            return known
        # Legacy files name storages as classes.
        return known if name.endswith("Storage") and isinstance(known, type) else Placeholder


class _Restricted:
    """What `torch.load` expects of a pickle module, with the restricted reader in it."""

    __name__ = "restricted"
    Unpickler = _RestrictedUnpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: IO[bytes], **options: Any) -> Any:
        """Read one pickle."""
        return _RestrictedUnpickler(file, **options).load()
