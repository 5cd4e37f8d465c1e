"""`bind-an-audio seeds`: several whole runs together."""

import pytest

from stages.commands.main import main
from stages.evaluation.systems import METRICS, SYSTEMS
from stages.formats.files import write_json, write_text, write_tsv

HEIGHTS = {"real": 1.0, "codec": 0.9, "reference": 0.8, "experiment_a": 0.6, "experiment_b": 0.5, "floor": 0.2}


def write_run(folder, seed, params="train_b:\n  seed: {seed}\n  epochs: 3\n", conclusive=True, **heights):
    rows = [
        {"metric": metric, "system": system, "value": (HEIGHTS | heights)[system], "low": "", "high": ""}
        for metric in METRICS
        for system in SYSTEMS
    ]
    write_tsv(folder / "metrics/systems.tsv", rows)
    write_json(folder / "metrics/comparison.json", {"conclusive": conclusive})
    write_text(folder / "params.yaml", params.format(seed=seed))
    return str(folder)


def seeds(tmp_path, *folders):
    main(["seeds", *folders, "--out", str(tmp_path / "seeds.md")])
    return (tmp_path / "seeds.md").read_text()


def rows_of(page):
    return {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in page.splitlines() if line.startswith("| ")}


def test_means_spread_shares_and_order_of_three_runs(tmp_path, capsys):
    runs = [write_run(tmp_path / f"s{seed}", seed, experiment_a=0.6 + 0.1 * seed) for seed in range(3)]
    page = seeds(tmp_path, *runs)
    assert capsys.readouterr().out.startswith(page)
    rows = rows_of(page)
    # Student's quantile for three runs is 4.303: 0.1 * 4.303 / sqrt(3) = 0.248.
    place = list(METRICS).index("source_accuracy")
    assert rows["Experiment A"][place] == "0.70 (0.45 to 0.95)"
    assert rows["Experiment B"][place] == "0.50 (0.50 to 0.50)"
    assert rows["codec / real"][0].startswith("0.90 (")
    assert rows["reference / codec"][0].startswith("0.89 (")
    assert rows["A, of the way from floor to reference"][0].startswith("0.83 (")
    assert rows["B, of the way from floor to reference"][0] == "0.50 (0.50 to 0.50)"
    assert "Source accuracy: A is better in all runs; B − A -0.20 (-0.45 to 0.05)." in page
    assert "FAD: B is better in all runs; B − A -0.20 (" in page
    assert "Not conclusive" not in page


def test_runs_that_disagree_or_tell_nothing_are_named(tmp_path):
    first = write_run(tmp_path / "one", 1)
    second = write_run(tmp_path / "two", 2, experiment_b=0.7, conclusive=False)
    page = seeds(tmp_path, first, second)
    assert "- CLAP score: the runs disagree: B is better in 1 of 2; B − A" in page
    assert f"Not conclusive by themselves: {second}." in page


def test_a_reference_on_the_floor_leaves_no_share_of_the_way(tmp_path):
    page = seeds(tmp_path, write_run(tmp_path / "one", 1, reference=0.2))
    assert rows_of(page)["A, of the way from floor to reference"][0] == "–"


@pytest.mark.parametrize(
    ("params", "seed", "message"),
    [
        ("train_b:\n  seed: {seed}\n  epochs: 4\n", 2, "two: train_b.epochs differs from .*one's"),
        ("train_b:\n  seed: {seed}\n", 2, "two: train_b.epochs differs"),
        ("train_b:\n  seed: {seed}\n  epochs: 3\n", 1, "two: has the seeds of .*one; give each run once"),
    ],
)
def test_runs_that_differ_in_more_than_seeds_or_in_nothing_are_refused(tmp_path, params, seed, message):
    first, second = write_run(tmp_path / "one", 1), write_run(tmp_path / "two", seed, params)
    with pytest.raises(ValueError, match=message):
        seeds(tmp_path, first, second)
    assert not (tmp_path / "seeds.md").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "metric\tsystem\tvalue\n",
        "metric\tsystem\tvalue\nfad\treal\tnone\n",
        "metric\tsystem\tvalue\nfad\treal\n",
        "metric\tvalue\nfad\t1.0\n",
    ],
)
def test_a_table_that_is_none_is_named(tmp_path, text):
    run = write_run(tmp_path / "one", 1)
    write_text(tmp_path / "one/metrics/systems.tsv", text)
    with pytest.raises(ValueError, match=r"systems\.tsv: no table of metric, system and value"):
        seeds(tmp_path, run)
