import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from stages.evaluation.systems import SYSTEMS
from stages.formats.files import write_tsv
from stages.report.plots import plot_curves, plot_mels, plot_metric, plot_spaces, read_curve


def rows_of(values, metric="fad", margin=0.5):
    return [
        {"system": system, "metric": metric, "value": value, "low": value - margin, "high": value + margin}
        for system, value in values.items()
    ]


def curve(decay, updates=20, teraflops=1.0):
    return [
        {
            "epoch": epoch,
            "updates": epoch * updates,
            "teraflops": epoch * teraflops,
            "validation_diffusion_loss": 0.3 + 0.2 * decay**epoch,
        }
        for epoch in range(1, 8)
    ]


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def close_to(picture, colour):
    """Mask `[height, width]` of the pixels of a colour `#rrggbb`."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return np.abs(picture - wanted).max(-1) < 12


ALL = {"real": 1.0, "codec": 3.0, "reference": 5.0, "experiment_a": 8.0, "experiment_b": 6.0, "floor": 17.0}


def test_bars_stand_in_the_fixed_order_and_as_high_as_their_values(tmp_path):
    shuffled = {name: ALL[name] for name in sorted(ALL, key=lambda name: name[::-1])}
    plot_metric("fad", rows_of(shuffled), tmp_path / "fad.png")
    picture = pixels(tmp_path / "fad.png")
    masks = {name: close_to(picture, SYSTEMS[name].colour) for name in ALL}
    centres = [np.nonzero(mask)[1].mean() for mask in masks.values()]
    assert centres == sorted(centres)
    # The tallest column of each bar, as the interval's line covers some pixels.
    heights = {name: mask.sum(0).max() for name, mask in masks.items()}
    assert heights["experiment_a"] / heights["reference"] == pytest.approx(8 / 5, rel=0.05)
    assert heights["floor"] / heights["experiment_b"] == pytest.approx(17 / 6, rel=0.05)


def test_wider_intervals_draw_more_black(tmp_path):
    for name, margin in (("narrow", 0.1), ("wide", 4.0)):
        plot_metric("fad", rows_of(ALL, margin=margin), tmp_path / f"{name}.png")
    narrow, wide = ((pixels(tmp_path / f"{name}.png").max(-1) < 40).sum() for name in ("narrow", "wide"))
    assert wide > narrow + 200


def test_a_value_without_an_interval_is_drawn_as_a_bar_alone(tmp_path):
    rows = rows_of(ALL, margin=4.0)
    plot_metric("fad", rows, tmp_path / "with.png")
    for empty in (None, ""):
        plot_metric("fad", [row | {"low": empty, "high": empty} for row in rows], tmp_path / "without.png")
        assert close_to(pixels(tmp_path / "without.png"), SYSTEMS["floor"].colour).any()
        black = [(pixels(tmp_path / f"{name}.png").max(-1) < 40).sum() for name in ("with", "without")]
        assert black[0] > black[1] + 200


def test_missing_systems_variants_and_negative_values_are_drawn(tmp_path):
    values = {"floor": -0.1, "experiment_a_guidance_1": 0.3, "experiment_a": 0.4}
    plot_metric("clap_score", rows_of(values, "clap_score", 0.02), tmp_path / "clap.png")
    picture = pixels(tmp_path / "clap.png")
    assert close_to(picture, SYSTEMS["floor"].colour).any()
    assert close_to(picture, SYSTEMS["experiment_a"].colour).any()
    assert not close_to(picture, SYSTEMS["experiment_b"].colour).any()


def test_both_curves_are_drawn_over_updates_and_over_compute(tmp_path):
    curves = {"experiment_a": curve(0.9, teraflops=2.0), "experiment_b": curve(0.5, teraflops=0.2)}
    plot_curves(curves, tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    half = picture.shape[1] // 2
    spans = {}
    for name in curves:
        mask = close_to(picture, SYSTEMS[name].colour)
        spans[name] = [np.ptp(np.nonzero(part)[1]) for part in (mask[:, :half], mask[:, half:])]
    # Both took as many updates; B took a tenth of the compute.
    assert spans["experiment_a"][0] == pytest.approx(spans["experiment_b"][0], rel=0.1)
    assert spans["experiment_b"][1] < spans["experiment_a"][1] / 5


def test_a_curve_is_read_back_from_its_table(tmp_path):
    write_tsv(tmp_path / "curve.tsv", [row | {"stage": "one"} for row in curve(0.5)])
    rows = read_curve(tmp_path / "curve.tsv")
    assert [row["updates"] for row in rows] == [20 * epoch for epoch in range(1, 8)]
    assert rows[0]["validation_diffusion_loss"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch\tupdates\n1\t2\n",
        "updates\tteraflops\tvalidation_diffusion_loss\n",
        "updates\tteraflops\tvalidation_diffusion_loss\n1\t2\n",
        "updates\tteraflops\tvalidation_diffusion_loss\n1\t2\t3\n1\tx\t3\n",
    ],
)
def test_a_broken_curve_is_named(tmp_path, text):
    (tmp_path / "curve.tsv").write_text(text)
    with pytest.raises(ValueError, match=r"curve\.tsv: no table of updates, teraflops"):
        read_curve(tmp_path / "curve.tsv")


def test_mels_stand_in_their_cells_low_bands_at_the_bottom(tmp_path):
    low = np.full((80, 160), -5.0)
    low[:40] = 1.0
    silence = np.full((80, 160), -5.0)
    mels = {"floor": [silence, silence], "real": [silence, low]}
    plot_mels(mels, ["costs $5 and $6", "a long caption " * 20], tmp_path / "mels.png")
    brightness = pixels(tmp_path / "mels.png").mean(-1)
    dark = brightness < 60
    # Row 1 is silent throughout; in row 2 `real`, the left one, is bright in its lower half only.
    height, width = brightness.shape
    title = 40
    row = (height - title) / 2

    def at(share, column):
        return dark[int(title + row * share), int(width * column)]

    assert at(0.2, 0.25)
    assert at(0.5, 0.25)
    assert at(1.2, 0.25)
    assert not at(1.5, 0.25)
    assert at(1.2, 0.75)
    assert at(1.5, 0.75)


def test_pictures_are_small_and_say_nothing_of_the_machine(tmp_path):
    plot_metric("fad", rows_of(ALL), tmp_path / "fad.png")
    plot_curves({"experiment_a": curve(0.9), "experiment_b": curve(0.5)}, tmp_path / "curves.png")
    mel = np.random.default_rng(0).uniform(-5, 1, size=(80, 160))
    plot_mels({name: [mel] * 4 for name in SYSTEMS}, ["caption"] * 4, tmp_path / "mels.png")
    for path in tmp_path.iterdir():
        limit = 1_000_000 if path.name == "mels.png" else 200_000
        assert 1_000 < path.stat().st_size < limit
        with Image.open(path) as picture:
            assert picture.info.keys() <= {"transparency"}


def test_another_process_with_a_style_of_its_own_draws_the_same_bytes(tmp_path):
    plot_curves({"experiment_a": curve(0.9)}, tmp_path / "here.png")
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: black\nfont.size: 20\nlines.linestyle: --\n")
    script = (
        "from stages.report.plots import plot_curves; from tests.test_plots import curve; import sys;"
        "plot_curves({'experiment_a': curve(0.9)}, sys.argv[1]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    there = tmp_path / "there.png"
    environment = {"PATH": "", "MATPLOTLIBRC": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script, there], check=True, env=environment)
    assert there.read_bytes() == (tmp_path / "here.png").read_bytes()


def test_two_spaces_lie_beside_each_other_pair_by_pair(tmp_path):
    points = np.random.default_rng(0).normal(size=(2, 20, 2))
    plot_spaces({"before": (points[0], points[1] + 8), "after": (points[0], points[0])}, tmp_path / "spaces.png")
    with Image.open(tmp_path / "spaces.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
        assert picture.width == 600
    for system in ("experiment_a", "reference"):
        wanted = [int(SYSTEMS[system].colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert np.abs(colours - wanted).max(axis=1).min() < 12, system
