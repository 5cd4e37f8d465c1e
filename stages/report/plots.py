"""Pictures of the results: bars with intervals, loss curves and mel spectrograms, as small PNG files.

The same numbers give the same bytes: no style file of the reader's, no date and no version is in them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from stages.evaluation.systems import METRICS, SYSTEMS, UNGUIDED, system_name
from stages.formats.files import read_tsv, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_COLUMNS = ("updates", "teraflops", "validation_diffusion_loss")
SILENCE, LOUD = -5.0, 1.0
# Of the grid of mels, in inches; a row includes its caption.
MEL_TITLE, MEL_COLUMN, MEL_ROW, MEL_CAPTION = 0.4, 1.5, 1.05, 0.25
LABEL_LETTERS = 14
COLOURS = 64
DPI = 100


def plot_metric(metric: str, rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw one bar a system with its 95 % interval, its clips at guidance 1 hatched beside it.

    Of `rows`, `{"system", "metric", "value", "low", "high"}`, those of other metrics are left out; `low` and `high` are
    None or empty where there is no interval.
    """
    chosen = {row["system"]: row for row in rows if row["metric"] == metric}
    colours = {system: _colour(system) for system in _in_order(chosen)}
    with _picture(path, width=1.2 + 1.05 * len(colours), height=3.4) as figure:
        axes = figure.add_subplot()
        for index, (system, colour) in enumerate(colours.items()):
            value, low, high = (chosen[system][name] for name in ("value", "low", "high"))
            hatch = "///" if system.endswith(UNGUIDED) else None
            axes.bar(index, value, width=0.7, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            top = max(value, 0.0)
            if low not in (None, ""):
                reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
                axes.errorbar(index, value, reach, color="black", linewidth=1.2, capsize=4)
                top = max(top, high)
            axes.annotate(f"{value:.3g}", (index, top), (0, 3), textcoords="offset points", ha="center", fontsize=9)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(colours)), [_label(system) for system in colours], fontsize=9)
        axes.set_title(f"{METRICS[metric].name} ({METRICS[metric].better} is better)", fontsize=11, loc="left")
        axes.margins(y=0.12)
        _lighten(axes)
        axes.tick_params(axis="x", length=0)


def read_curve(path: str | Path) -> list[dict[str, float]]:
    """Read the columns of `CURVE_COLUMNS` from a curve's TSV, one row an epoch.

    Raises ValueError naming a file that is no such table.
    """
    with suppress(KeyError, ValueError):
        if curve := [{column: float(row[column]) for column in CURVE_COLUMNS} for row in read_tsv(path)]:
            return curve
    raise ValueError(f"{path}: no table of {', '.join(CURVE_COLUMNS)}; run the training stage again")


def plot_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], path: str | Path) -> None:
    """Draw validation diffusion losses over updates and over compute, side by side.

    `curves` are rows with the columns of `CURVE_COLUMNS`, by system.
    """
    with _picture(path, width=8.0, height=3.2) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, column, name in zip(panels, ("updates", "teraflops"), ("Updates", "Compute in TFLOP"), strict=True):
            for system, rows in curves.items():
                axes.plot(
                    [row[column] for row in rows],
                    [row["validation_diffusion_loss"] for row in rows],
                    color=_colour(system),
                    marker="s" if system == "experiment_b" else "o",
                    markersize=4,
                    linewidth=1.6,
                    label=system_name(system),
                )
            axes.set_xlabel(name, fontsize=9)
            axes.set_xlim(left=0)
            _lighten(axes)
        panels[0].set_ylabel("Diffusion loss, validation", fontsize=9)
        panels[0].legend(frameon=False, fontsize=9)


def plot_spaces(spaces: Mapping[str, tuple[ArrayLike, ArrayLike]], path: str | Path) -> None:
    """Draw how far ImageBind's space is from CLAP's: a panel for each pair of point sets, a line from each to its own.

    Args:
        spaces: by title, points `[N, 2]` of ImageBind's side and, in the same order, of CLAP's.
        path: of the PNG.
    """
    with _picture(path, width=3.0 * len(spaces), height=3.4) as figure:
        for axes, (title, sides) in zip(figure.subplots(1, len(spaces), squeeze=False)[0], spaces.items(), strict=True):
            left, right = (np.asarray(side, dtype=np.float64) for side in sides)
            axes.plot(*np.stack([left, right]).transpose(2, 0, 1), color="#bbbbbb", linewidth=0.4, zorder=1)
            for points, key, name in ((left, "experiment_a", "ImageBind's side"), (right, "reference", "CLAP")):
                axes.scatter(*points.T, s=9, color=SYSTEMS[key].colour, label=name, linewidths=0, zorder=2)
            axes.set_title(title, fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def plot_mels(mels: Mapping[str, Sequence[ArrayLike]], captions: Sequence[str], path: str | Path) -> None:
    """Draw mel spectrograms in a grid: one row a caption, one column a system, low bands at the bottom.

    `mels` are log10 mels `[80, frames]`, about -5 (silence, black) to 1 (white), one a caption, by system; each takes
    some 6 KB of the file.
    """
    order = _in_order(mels)
    width, height = MEL_COLUMN * len(order), MEL_TITLE + MEL_ROW * len(captions)
    with _picture(path, width, height, layout=None) as figure:
        for row, caption in enumerate(captions):
            bottom = height - MEL_TITLE - MEL_ROW * (row + 1) + MEL_CAPTION
            for index, system in enumerate(order):
                left, above = MEL_COLUMN * index + 0.05, MEL_ROW - MEL_CAPTION
                axes = figure.add_axes((left / width, bottom / height, (MEL_COLUMN - 0.1) / width, above / height))
                mel = np.asarray(mels[system][row], dtype=np.float64)
                axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=SILENCE, vmax=LOUD)
                axes.set_xticks([])
                axes.set_yticks([])
                if row == 0:
                    axes.set_title(_label(system), fontsize=8, pad=3)
                if index == 0:
                    _caption_below(axes, caption, letters=22 * len(order))


def _in_order(systems: Mapping[str, Any]) -> list[str]:
    """Systems in the order of `SYSTEMS`, each before its clips at guidance 1."""
    return [key for system in SYSTEMS for key in (system, system + UNGUIDED) if key in systems]


def _colour(system: str) -> str:
    return SYSTEMS[system.removesuffix(UNGUIDED)].colour


def _label(system: str) -> str:
    return "\n".join(textwrap.fill(part, LABEL_LETTERS) for part in system_name(system).split(", "))


def _caption_below(axes: Axes, caption: str, letters: int) -> None:
    """Write one line that starts under `axes` and may run on under its neighbours."""
    # `$` would start a formula.
    text = textwrap.shorten(caption, letters, placeholder="…").replace("$", r"\$")
    axes.annotate(text, (0, 0), (0, -3), "axes fraction", "offset points", va="top", fontsize=8, annotation_clip=False)


def _lighten(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)


@contextmanager
def _picture(
    path: str | Path, width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """Yield a figure of `width` by `height` inches under matplotlib's own defaults; then write it as a PNG.

    The figure belongs to no window and no global state; the file has few colours and no metadata.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
        yield figure
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    with replacing(path) as temporary:
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)
