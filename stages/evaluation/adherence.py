"""Does a clip obey the attributes that its caption names? Measured from the signal, for soundworld.

Every attribute has one plain measurement (a number) and a rule whose threshold comes from real training clips:
the midpoint between the two values' means, per source where the sources differ (`calibrate`).

| attribute | measured | rule |
| --- | --- | --- |
| size | spectral centroid in octaves | above the source's midpoint: small |
| pace | swells or events a second, from the loudness curve's autocorrelation | above the midpoint: fast |
| loudness | RMS of the loudest quarter second | above the midpoint: loud |
| envelope | dB from the first to the last two fifths' loudest moment | between the midpoints: steady |
| count | peaks of the loudness curve | 1, 2, 3 |
| pitch_order, loudness_order | second half minus first half, centroid or level | sign |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from stages.corpus.clips import Row
from stages.corpus.measurements import event_peaks, loudness_change, loudness_curve, rate
from stages.corpus.signals import centroid, level

Wave = npt.NDArray[np.floating[Any]]
Thresholds = dict[str, float]

# The number that decides an attribute, of a waveform `[samples]`: see the table above.
MEASURES: dict[str, Callable[[Wave], float]] = {
    "size": centroid,
    "pace": lambda wave: float(np.log2(rate(loudness_curve(wave)))),
    "loudness": level,
    "envelope": lambda wave: loudness_change(loudness_curve(wave)),
    "count": lambda wave: len(event_peaks(loudness_curve(wave))),
    "pitch_order": lambda wave: centroid(wave[len(wave) // 2 :]) - centroid(wave[: len(wave) // 2]),
    "loudness_order": lambda wave: level(wave[len(wave) // 2 :]) - level(wave[: len(wave) // 2]),
}
INAUDIBLE = -50.0  # dBFS in the loudest quarter second: soundworld's quiet clips lie above -40, its rooms at -60
COUNTS = {"once": 1, "twice": 2, "three": 3}
OPPOSITES = {"size": ("large", "small"), "pace": ("slow", "fast"), "loudness": ("quiet", "loud")}
ORDERS = {"pitch_order": ("high_low", "low_high"), "loudness_order": ("loud_quiet", "quiet_loud")}


def calibrate(rows: Sequence[Row], waveforms: Iterable[Tensor]) -> Thresholds:
    """Fit the thresholds on real training clips: rows of data/corpus/metadata.jsonl and their waveforms `[samples]`.

    Returns JSON-able thresholds; keys such as "size/bell", "pace/rain", "loudness", "envelope/growing". An attribute of
    which training lacks a value has none, and is not measured.
    """
    measured: dict[str, dict[str, list[float]]] = {}
    for row, waveform in zip(rows, waveforms, strict=True):
        for attribute in (*OPPOSITES, "envelope"):
            if attribute in row["attributes"]:
                number = MEASURES[attribute](waveform.double().numpy())
                for key in _keys(attribute, row):
                    measured.setdefault(key, {}).setdefault(row["attributes"][attribute], []).append(number)
    means = {key: {value: float(np.mean(all_)) for value, all_ in one.items()} for key, one in measured.items()}
    thresholds: Thresholds = {}
    for key, one in sorted(means.items()):
        if key == "envelope" and len(one) == 3:
            thresholds |= {f"{key}/{value}": (one[value] + one["steady"]) / 2 for value in ("fading", "growing")}
        elif key != "envelope" and len(one) == 2:
            thresholds[key] = sum(one.values()) / 2
    return thresholds


def uncalibrated(rows: Iterable[Row], thresholds: Mapping[str, float]) -> list[str]:
    """One sentence for each attribute of `rows` that is not measured, since `calibrate` found no threshold for it."""
    named = {name for row in rows for name in row["attributes"]}
    known = {key.split("/")[0] for key in thresholds}
    return [
        f"{name} is not measured: training lacks clips of one of its values; raise prepare.clips"
        for name in sorted(named & {*OPPOSITES, "envelope"} - known)
    ]


def adherence(row: Row, waveform: Wave, thresholds: Mapping[str, float]) -> dict[str, bool]:
    """Say for each measurable attribute of `row` whether `waveform` `[samples]` obeys it.

    Attributes that no measurement covers (material, scene) and those without a threshold are left out. A clip that
    cannot be heard obeys none: by its numbers, silence would be quiet, steady and low.
    """
    obeyed: dict[str, bool] = {}
    for attribute, value in row["attributes"].items():
        if attribute in OPPOSITES:
            known = [key for key in _keys(attribute, row) if key in thresholds]
            if known:
                high = MEASURES[attribute](waveform) > thresholds[known[0]]
                obeyed[attribute] = value == OPPOSITES[attribute][int(high)]
        elif attribute == "envelope" and "envelope/fading" in thresholds:
            change = MEASURES["envelope"](waveform)
            if change < thresholds["envelope/fading"]:
                obeyed[attribute] = value == "fading"
            else:
                obeyed[attribute] = value == ("growing" if change > thresholds["envelope/growing"] else "steady")
        elif attribute == "count":
            obeyed[attribute] = MEASURES["count"](waveform) == COUNTS[value]
        elif attribute in ORDERS:
            obeyed[attribute] = value == ORDERS[attribute][int(MEASURES[attribute](waveform) > 0)]
    return obeyed if level(waveform) > INAUDIBLE else dict.fromkeys(obeyed, False)


def _keys(attribute: str, row: Row) -> list[str]:
    """Threshold keys of an attribute, the most specific first."""
    if attribute in ("loudness", "envelope") or len(row["sources"]) != 1:
        return [attribute]
    source = row["sources"][0]
    material = row["attributes"].get("material")
    specific = [f"{attribute}/{source}/{material}"] if attribute == "size" and material else []
    return [*specific, f"{attribute}/{source}", attribute]
