"""The reference implementations' small random weights: drawn again as they were drawn, or kept where a test reads them.

What the reference computed with them stands in `tests/golden/*_io.safetensors`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
TOKEN_EMBEDDING = "modality_preprocessors.text.token_embedding.weight"


def drawn_weights(name: str) -> dict[str, Tensor]:
    """Weights that one seed gives in the order of their names, rounded to half precision as the reference ran them.

    Matrices have the deviation 1 / sqrt(inputs), scales are 1 +- 0.2, biases 0 +- 0.1. Drawn once a process: who
    changes a tensor takes a copy.
    """
    return dict(_drawn(name))


@functools.cache
def _drawn(name: str) -> dict[str, Tensor]:
    made = json.loads((GOLDEN / f"{name}.json").read_text())
    generator = torch.Generator().manual_seed(made["seed"])
    state = {}
    for key, shape in made["shapes"].items():
        drawn = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            drawn = drawn / math.prod(shape[1:]) ** 0.5
        else:
            drawn = 1 + 0.2 * drawn if key.endswith("weight") else 0.1 * drawn
        state[key] = drawn.half().float()
    return state


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of all weights in half precision."""
    whole = hashlib.sha256()
    for value in state.values():
        whole.update(value.half().numpy().tobytes())
    return whole.hexdigest()


def imagebind_weights_and_config() -> tuple[dict[str, Tensor], dict[str, int]]:
    """The small ImageBind; of the 49,408 words those that the reference texts have are its own, others are drawn."""
    with safe_open(GOLDEN / "imagebind_tiny_state.safetensors", framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    rows, values = weights.pop("token_rows"), weights.pop("token_values")
    words = torch.randn(config["words"], values.shape[1], generator=torch.Generator().manual_seed(0)) / 2
    words[rows.long()] = values.float()
    return weights | {TOKEN_EMBEDDING: words}, config
