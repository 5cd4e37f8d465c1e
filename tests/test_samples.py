"""A run's clips beside the README: `bind-an-audio samples`."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from stages.commands import main as commands
from stages.commands.samples import SHOWN
from stages.evaluation.systems import sample_folders
from stages.formats.files import write_jsonl, write_text

START = "<!-- docs/samples/soundworld: `bind-an-audio samples` writes this table -->"
END = "<!-- docs/samples/soundworld end -->"
NASTY = "a <b>bell</b> | rings"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of five test captions: two of bells, two of dogs, one of both; of the first dog nothing was sampled."""
    monkeypatch.chdir(tmp_path)
    rows = [("1", ["bell"], NASTY), ("2", ["dog"], "a dog"), ("3", ["bell", "dog"], "both"), ("4", ["dog"], "dog 2")]
    rows.append(("5", ["bell"], "bell 2"))
    about = [{"id": name, "caption": text, "split": "test"} for name, _, text in rows]
    corpus = [one | {"file_name": f"{one['id']}.flac", "sources": row[1]} for one, row in zip(about, rows, strict=True)]
    accepted = [one | {"image": f"data/images/{one['id']}.png", "visual_part": "x"} for one in about]
    write_jsonl("data/corpus/metadata.jsonl", corpus)
    write_jsonl("data/quality/accepted.jsonl", accepted)
    Path("data/images").mkdir()
    for row in accepted:
        Image.new("RGB", (90, 90), "red").save(row["image"])
        soundfile.write(Path("data/corpus") / f"{row['id']}.flac", noise(0), 16_000)
    for number, name in enumerate(SHOWN[1:], start=1):
        takes = [(row["id"], take) for row in accepted for take in (0, 1) if row["id"] != "2"]
        listed = [{"id": item, "take": take, "file_name": f"{item}_{take}.flac"} for item, take in takes]
        folder = sample_folders()[name]
        write_jsonl(folder / "metadata.jsonl", listed)
        for item, take in takes:
            soundfile.write(folder / f"{item}_{take}.flac", noise(number + 10 * take), 16_000)
    write_text("README.md", f"# Before\n\n{START}\nold\n{END}\nafter\n")
    return tmp_path


def noise(seed):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, 8000) * np.linspace(0, 1, 8000) ** seed


def test_the_first_caption_of_each_source_stands_in_the_readme_with_its_sounds(run):
    commands.main(["samples", "--captions", "4"])
    text = Path("README.md").read_text()
    assert text.startswith("# Before")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    captions = [line.split(" | <img")[0] for line in text.splitlines() if "mp3" in line]
    assert captions == [r"| a \<b\>bell\</b\> \| rings", "| dog 2", "| both", "| bell 2"]
    for name in SHOWN:
        samples, rate = soundfile.read(f"docs/samples/soundworld/dog_{name}.mp3")
        assert rate == 16_000
        original = noise(SHOWN.index(name))
        assert abs(np.sqrt(np.mean(samples**2)) / np.sqrt(np.mean(original**2)) - 1) < 0.2, "take 0 of that system"
        assert f"](docs/samples/soundworld/dog_{name}.mp3)" in text
        assert Image.open(f"docs/samples/soundworld/dog_{name}.png").height == 80
    assert {path.stem for path in Path("docs/samples/soundworld").glob("*.webp")} == {"bell", "dog", "bell-dog", "5"}
    assert len(list(Path("docs/samples/soundworld").iterdir())) == 4 * 9


def test_the_same_run_gives_the_same_bytes_and_nothing_old_is_left(run):
    def bytes_of():
        return {
            path.name: path.read_bytes() for path in [*Path("docs/samples/soundworld").iterdir(), Path("README.md")]
        }

    commands.main(["samples", "--captions", "4"])
    commands.main(["samples", "--captions", "2"])
    first = bytes_of()
    commands.main(["samples", "--captions", "2"])
    assert bytes_of() == first
    assert len(first) == 2 * 9 + 1


def test_another_runs_samples_become_a_second_table_beside_the_first(run):
    """The run lies elsewhere; the first table and its files stay as they are."""
    commands.main(["samples", "--captions", "2"])
    first = Path("docs/samples/soundworld/dog_real.mp3").read_bytes()
    start, end = (mark.replace("soundworld", "esc10") for mark in (START, END))
    text = Path("README.md").read_text() + f"{start}\n{end}\n"
    elsewhere = run / "elsewhere"
    elsewhere.mkdir()
    Path("data").rename(elsewhere / "data")
    write_text("README.md", text)
    commands.main(["samples", "--run", "elsewhere", "--out", "docs/samples/esc10", "--captions", "3"])
    kept, added = Path("README.md").read_text().split(start)
    assert kept == text.split(start)[0]
    assert added.count(".mp3)") == 3 * len(SHOWN)
    assert Path("docs/samples/soundworld/dog_real.mp3").read_bytes() == first
    assert len(list(Path("docs/samples/esc10").iterdir())) == 3 * 9


def test_what_is_missing_is_one_line(run):
    write_text("README.md", "# No place\n")
    with pytest.raises(ValueError, match=r"README\.md: give it one line"):
        commands.main(["samples"])
    write_text("README.md", f"{START}\n{END}\n")
    (run / "data/samples/a/experiment_a/metadata.jsonl").unlink()
    with pytest.raises(ValueError, match="data/samples/a/experiment_a: no clips there"):
        commands.main(["samples"])
