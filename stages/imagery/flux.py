"""The illustrator with weights: FLUX.1-schnell (Black Forest Labs, Apache-2.0) by diffusers' FluxPipeline.

Environment: `HF_TOKEN` for the model's gate; `BIND_AN_AUDIO_OFFLOAD` says what stays off the graphics card meanwhile:
`none`, `model` (default: one network at a time on it) or `sequential` (one layer at a time). In bfloat16 the
transformer has 24 GB and T5 10 GB: a 16 GB card takes `sequential` (slow), or `transformer: fp8` or `nf4` with `model`.
Main memory must hold all of it: 34 GB in bfloat16, about 22 GB with fp8, 17 GB with nf4.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from stages.formats.files import replacing
from stages.formats.images import UnusableImageError, open_image
from stages.formats.keys import request_key
from stages.imagery.checks import deviation
from stages.params.data import Images
from stages.plumbing.environment import cache_folder

if TYPE_CHECKING:
    from diffusers import FluxPipeline

BLANK_DEVIATION = 1.0  # of grey levels from 0 to 255: a failed drawing is one colour
OFFLOADS = ("none", "model", "sequential")

# A row, its PNG in the cache, and the seed of that drawing.
Painted = tuple[dict[str, Any], Path | None, int]


def seed_of(item: str, seed: int, attempt: int) -> int:
    """The seed of an item's drawing number `attempt` (0 is the first), from its id and the stage's seed."""
    digest = hashlib.sha256(f"{seed}:{item}:{attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def painter(params: Images) -> Callable[[Sequence[dict[str, Any]]], list[Painted]]:
    """Return what draws a batch of at most `flux.batch_size` rows by a pipeline that is loaded for the first new image.

    It gives each row (`id`, `visual_part`) in order, its PNG in the cache (`params.size` square; None where every
    attempt was blank) and its seed, and raises ValueError where the model cannot be loaded. An image goes at once into
    the side cache and is not drawn again: a killed run goes on where it was and ends with the same bytes, since a batch
    that was half done is filled up to its size, which may show in the last bits.
    """
    pipeline: FluxPipeline | None = None

    def paint(rows: Sequence[dict[str, Any]]) -> list[Painted]:
        nonlocal pipeline
        found: dict[str, Path] = {}
        seeds: dict[str, int] = {}
        waiting = list(rows)
        for attempt in range(params.flux.attempts):
            seeds |= {row["id"]: seed_of(row["id"], params.seed, attempt) for row in waiting}
            places = {row["id"]: cached_image(row, seeds[row["id"]], params) for row in waiting}
            open_rows = [row for row in waiting if not _is_image(places[row["id"]])]
            if open_rows:
                pipeline = pipeline or load_pipeline(params)
                _draw(pipeline, open_rows, seeds, params)
            found |= {item: path for item, path in places.items() if deviation(open_image(path)) >= BLANK_DEVIATION}
            waiting = [row for row in waiting if row["id"] not in found]
        return [(row, found.get(row["id"]), seeds[row["id"]]) for row in rows]

    return paint


def cached_image(row: dict[str, Any], seed: int, params: Images) -> Path:
    """Where the side cache keeps an image: a hash of all that decides it."""
    key = request_key({"prompt": prompt_of(row, params), "seed": seed, "size": params.size, **params.flux.model_dump()})
    return cache_folder() / "images" / key[:2] / f"{key}.png"


def prompt_of(row: dict[str, Any], params: Images) -> str:
    """The prompt: the visual part in the style of `images.flux.prompt`."""
    return params.flux.prompt.replace("{visual_part}", row["visual_part"])


def _is_image(path: Path) -> bool:
    """Whether the side cache holds a whole image: what a fault of the disk or a copy cut short is drawn again."""
    try:
        open_image(path)
    except UnusableImageError:
        return False
    return True


def load_pipeline(params: Images) -> FluxPipeline:
    """Load FLUX from a folder in diffusers' format or from the hub.

    Raises ValueError where it is not there, the hub's gate is shut, or what `transformer: nf4` needs is missing.
    """
    import diffusers
    import torch
    from diffusers import FluxPipeline, FluxTransformer2DModel

    flux = params.flux
    offload = os.environ.get("BIND_AN_AUDIO_OFFLOAD", "model")
    if offload not in OFFLOADS:
        raise ValueError(f"BIND_AN_AUDIO_OFFLOAD={offload}: take one of {', '.join(OFFLOADS)}")
    if flux.transformer == "nf4" and not torch.cuda.is_available():
        raise ValueError("images.flux.transformer=nf4: needs a CUDA card, and there is none; take bfloat16 or fp8")
    diffusers.utils.logging.disable_progress_bar()
    source = {"revision": flux.revision, "dtype": torch.bfloat16}
    parts: dict[str, Any] = {}
    try:
        if flux.transformer == "nf4":
            from diffusers import BitsAndBytesConfig

            config = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
            )
            parts["transformer"] = FluxTransformer2DModel.from_pretrained(
                flux.model, subfolder="transformer", quantization_config=config, **source
            )
        pipeline = FluxPipeline.from_pretrained(flux.model, **parts, **source)
    except ImportError as error:
        raise ValueError(f"images.flux.transformer={flux.transformer}: {_line(error)}; pip install '.[gpu]'") from None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"images.flux.model={flux.model}: cannot be loaded ({_line(error)}); name a folder in diffusers' "
            "format, or accept the model's terms on the hub and set HF_TOKEN"
        ) from None
    if flux.transformer == "fp8":
        hold_in_fp8(pipeline.transformer)
    pipeline.set_progress_bar_config(disable=True)
    if torch.cuda.is_available():
        if offload == "none":
            pipeline.to("cuda")
        elif offload == "model":
            pipeline.enable_model_cpu_offload()
        else:
            pipeline.enable_sequential_cpu_offload()
    return pipeline


def hold_in_fp8(transformer: Any) -> None:
    """Hold every linear layer of FLUX's transformer in 8 bits; each is computed in bfloat16 when its turn comes.

    diffusers' own `enable_layerwise_casting` leaves the layers that scale and shift the norms as they are: 3.2 of the
    11.9 billion weights, and with 15.1 GB in all too much for a card of 16 GB.
    """
    import torch
    from diffusers.hooks import apply_layerwise_casting

    apply_layerwise_casting(transformer, torch.float8_e4m3fn, torch.bfloat16, skip_modules_pattern=("pos_embed",))


def _draw(pipeline: FluxPipeline, rows: list[dict[str, Any]], seeds: dict[str, int], params: Images) -> None:
    """Draw a batch and keep its images; what is no number in them becomes black."""
    import torch

    flux = params.flux
    filled = [rows[min(index, len(rows) - 1)] for index in range(flux.batch_size)]
    images = pipeline(
        [prompt_of(row, params) for row in filled],
        height=flux.render_size,
        width=flux.render_size,
        num_inference_steps=flux.steps,
        guidance_scale=flux.guidance_scale,
        max_sequence_length=flux.max_sequence_length,
        generator=[torch.Generator().manual_seed(seeds[row["id"]]) for row in filled],
        output_type="np",
    ).images
    for row, pixels in zip(rows, images, strict=False):
        sound = pixels if np.isfinite(pixels).all() else np.zeros_like(pixels)
        image = Image.fromarray((sound * 255).round().astype(np.uint8))
        with replacing(cached_image(row, seeds[row["id"]], params)) as path:
            image.resize((params.size, params.size), Image.Resampling.LANCZOS).save(path, format="PNG")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
