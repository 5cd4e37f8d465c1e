"""Pictures of the results: bars with intervals, loss curves and mel spectrograms, as small PNG files.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers can tell apart. The
same numbers give the same bytes: no style file of the reader's, no date and no version is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from stages.formats.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SYSTEMS = {
    "real": ("real audio", "#7f7f7f"),
    "codec": ("codec\nround trip", "#56b4e9"),
    "reference": ("reference\n(true CLAP)", "#0072b2"),
    "experiment_a": ("experiment A", "#e69f00"),
    "experiment_b": ("experiment B", "#009e73"),
    "floor": ("floor\n(no caption)", "#cc79a7"),
}
VARIANT = "_guidance_1"
METRICS = {
    "fad": "Frechet audio distance (lower is better)",
    "kad": "Kernel audio distance (lower is better)",
    "clap_score": "CLAP score (higher is better)",
    "source_accuracy": "Source accuracy (higher is better)",
    "attribute_adherence": "Attribute adherence (higher is better)",
}
CURVE_COLUMNS = ("updates", "teraflops", "validation_diffusion_loss")
SILENCE, LOUD = -5.0, 1.0
# Of the grid of mels, in inches; a row includes its caption.
MEL_TITLE, MEL_COLUMN, MEL_ROW, MEL_CAPTION = 0.4, 1.5, 1.05, 0.25
COLOURS = 64
DPI = 100

Row = Mapping[str, Any]


def plot_metric(metric: str, rows: Sequence[Row], path: str | Path) -> None:
    """Draw one bar a system with its 95 % interval, in the order of `SYSTEMS`.

    Args:
        metric: name of the metric, the title where `METRICS` has none.
        rows: `{"system", "metric", "value", "low", "high"}`; rows of other metrics are left out. A system's variant
            without guidance (`..._guidance_1`) stands hatched beside it.
        path: of the PNG.

    Raises:
        ValueError: no row of this metric, a system that `SYSTEMS` does not name.
    """
    chosen = {row["system"]: row for row in rows if row["metric"] == metric}
    if not chosen:
        raise ValueError(f"{metric}: no rows to draw; it is not among {sorted({row['metric'] for row in rows})}")
    for system in chosen:
        if system.removesuffix(VARIANT) not in SYSTEMS:
            raise ValueError(f"system {system!r}: unknown; take one of {', '.join(SYSTEMS)}")
    order = [name for system in SYSTEMS for name in (system, system + VARIANT) if name in chosen]
    with _picture(path, width=1.2 + 1.05 * len(order), height=3.4) as figure:
        axes = figure.add_subplot()
        for place, system in enumerate(order):
            row = chosen[system]
            _, colour = SYSTEMS[system.removesuffix(VARIANT)]
            hatch = "///" if system.endswith(VARIANT) else None
            axes.bar(place, row["value"], width=0.7, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            axes.errorbar(place, row["value"], _reach(row), color="black", linewidth=1.2, capsize=4)
            top = max(row["value"], row["high"], 0.0)
            axes.annotate(
                f"{row['value']:.3g}", (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=9
            )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(order)), [_label(system) for system in order], fontsize=9)
        axes.set_title(METRICS.get(metric, metric), fontsize=11, loc="left")
        axes.margins(y=0.12)
        _lighten(axes)
        axes.tick_params(axis="x", length=0)


def read_curve(path: str | Path) -> list[dict[str, float]]:
    """Read the columns of `CURVE_COLUMNS` from a curve's TSV, one row an epoch.

    Raises ValueError naming the file and the column or the value that does not fit.
    """
    header, *lines = Path(path).read_text(encoding="utf-8").splitlines() or [""]
    names = header.split("\t")
    for column in CURVE_COLUMNS:
        if column not in names:
            raise ValueError(f"{path}: no column {column!r} among {names}; run the training stage again")
    rows = []
    for number, line in enumerate(lines, start=2):
        fields = dict(zip(names, line.split("\t"), strict=False))
        try:
            rows.append({column: float(fields[column]) for column in CURVE_COLUMNS})
        except (KeyError, ValueError):
            raise ValueError(f"{path}, line {number}: {line!r} is no row of numbers; run the stage again") from None
    if not rows:
        raise ValueError(f"{path}: holds no epochs; run the training stage again")
    return rows


def plot_curves(curves: Mapping[str, Sequence[Row]], path: str | Path) -> None:
    """Draw validation diffusion losses over updates and over compute, side by side.

    Args:
        curves: rows with the columns of `CURVE_COLUMNS`, by system (`experiment_a`, `experiment_b`).
        path: of the PNG.

    Raises:
        ValueError: a system that `SYSTEMS` does not name.
    """
    with _picture(path, width=8.0, height=3.2) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, column, name in zip(panels, ("updates", "teraflops"), ("Updates", "Compute in TFLOP"), strict=True):
            for system, rows in curves.items():
                if system not in SYSTEMS:
                    raise ValueError(f"system {system!r}: unknown; take one of {', '.join(SYSTEMS)}")
                label, colour = SYSTEMS[system]
                axes.plot(
                    [row[column] for row in rows],
                    [row["validation_diffusion_loss"] for row in rows],
                    color=colour,
                    marker="s" if system == "experiment_b" else "o",
                    markersize=4,
                    linewidth=1.6,
                    label=label.replace("\n", " "),
                )
            axes.set_xlabel(name, fontsize=9)
            axes.set_xlim(left=0)
            _lighten(axes)
        panels[0].set_ylabel("Diffusion loss, validation", fontsize=9)
        panels[0].legend(frameon=False, fontsize=9)


def plot_mels(mels: Mapping[str, Sequence[ArrayLike]], captions: Sequence[str], path: str | Path) -> None:
    """Draw mel spectrograms in a grid: one row a caption, one column a system, low bands at the bottom.

    A spectrogram takes some 6 KB of the file.

    Args:
        mels: log10 mels `[80, frames]`, about -5 (silence, black) to 1 (white), one a caption, by system.
        captions: one a row.
        path: of the PNG.

    Raises:
        ValueError: a system with another number of mels than there are captions; no captions.
    """
    for system, column in mels.items():
        if len(column) != len(captions) or not captions:
            raise ValueError(f"{system}: {len(column)} mels for {len(captions)} captions; give one each")
    order = [name for system in SYSTEMS for name in (system, system + VARIANT) if name in mels]
    order += [system for system in mels if system not in order]
    width, height = MEL_COLUMN * len(order), MEL_TITLE + MEL_ROW * len(captions)
    with _picture(path, width, height, layout=None) as figure:
        for row, caption in enumerate(captions):
            bottom = height - MEL_TITLE - MEL_ROW * (row + 1) + MEL_CAPTION
            for place, system in enumerate(order):
                left, above = MEL_COLUMN * place + 0.05, MEL_ROW - MEL_CAPTION
                axes = figure.add_axes((left / width, bottom / height, (MEL_COLUMN - 0.1) / width, above / height))
                mel = np.asarray(mels[system][row], dtype=np.float64)
                axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=SILENCE, vmax=LOUD)
                axes.set_xticks([])
                axes.set_yticks([])
                if row == 0:
                    axes.set_title(_label(system), fontsize=8, pad=3)
                if place == 0:
                    _caption_below(axes, caption, letters=22 * len(order))


def _reach(row: Row) -> list[list[float]]:
    """Lengths of the interval below and above the value."""
    return [[max(0.0, row["value"] - row["low"])], [max(0.0, row["high"] - row["value"])]]


def _label(system: str) -> str:
    name, _ = SYSTEMS.get(system.removesuffix(VARIANT), (system.removesuffix(VARIANT), ""))
    return f"{name}\nguidance 1" if system.endswith(VARIANT) else name


def _caption_below(axes: Axes, caption: str, letters: int) -> None:
    """Write one line that starts under `axes` and may run on under its neighbours."""
    text = caption if len(caption) <= letters else caption[: letters - 1].rstrip() + "…"
    # `$` would start a formula.
    text = text.replace("$", r"\$")
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
