"""A device that is none: its tensors lie on the CPU and refuse, as a card's do, to be mixed with the CPU's own.

It goes by the name of "meta", torch's device without memory, so that no card and no other build of torch is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CARD = "meta"
# A card's tensors may be copied from and to the CPU and be indexed by tensors that lie there.
BETWEEN = ("copy_", "_to_copy", "index")


class OnCard(Tensor):
    """A tensor that says it lies on the card; `held` is what it computes with."""

    held: Tensor
    # Its operations are told by `Operations`: torch's functions need not come by here, too.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> OnCard:
        made: OnCard = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            dtype=held.dtype,
            device=torch.device(CARD),
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCard({self.held})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(function, args, kwargs or {})


class Operations(TorchDispatchMode):
    """Operations compute where their tensors lie."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the way around the compiler costs more than most operations

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


class Literals(TorchFunctionMode):
    """Tensors of Python numbers, which are no operation to torch, are put where they are said to lie."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if function is torch.tensor and str(named.get("device")) == CARD:
            return OnCard(function(*args, **{**named, "device": "cpu"}))
        if function is Tensor.new_tensor and isinstance(args[0], OnCard):
            return OnCard(torch.tensor(*args[1:], **{"dtype": args[0].dtype, **named, "device": "cpu"}))
        return function(*args, **named)


@contextmanager
def pretend_card() -> Iterator[None]:
    """Within it, `.to("meta")` puts a tensor on the card, and what is made on "meta" lies there."""
    with Operations(), Literals():
        yield


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What the operation gives, on the card where its tensors lie there. Raises RuntimeError for a mixture."""
    name = function.overloadpacket.__name__
    tensors = [one for one in leaves((args, kwargs.values())) if isinstance(one, Tensor)]
    on_card = any(isinstance(one, OnCard) for one in tensors)
    if on_card and name not in BETWEEN and any(not isinstance(one, OnCard) and one.dim() for one in tensors):
        raise RuntimeError(f"{name}: tensors of two devices, shapes {[list(one.shape) for one in tensors]}")
    if (wanted := kwargs.get("device")) is not None:
        on_card, kwargs = str(wanted) == CARD, {**kwargs, "device": torch.device("cpu")}
    found = function(*each(bare, args), **{key: each(bare, value) for key, value in kwargs.items()})
    if name.endswith("_"):  # in place, of several tensors nothing is returned
        return None if name.startswith("_foreach") else args[0]
    return each(lambda one: OnCard(one) if isinstance(one, Tensor) else one, found) if on_card else found


def leaves(values: Any) -> Iterator[Any]:
    """What an operation is given, lists taken apart; torch's own walk costs more than most operations."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from leaves(value)
        else:
            yield value


def each(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` applied to a value, or to each of a list or tuple."""
    return type(value)(each(change, one) for one in value) if type(value) in (list, tuple) else change(value)


def bare(value: Any) -> Any:
    """What an operation computes with."""
    return value.held if isinstance(value, OnCard) else value
