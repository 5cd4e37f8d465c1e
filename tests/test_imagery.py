"""What a person would notice of the illustrator, the image checks and the images stage."""

import io
import itertools
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages import images
from stages.corpus.soundworld_captions import WORDS
from stages.imagery.checks import image_problems
from stages.imagery.glyphs import PROPS, picture
from stages.imagery.pictograms import illustrate
from stages.imagery.scenery import PATTERNS
from stages.imagery.visual_part import material_rows, noun_rows, parse, pictogram_name, place_rows
from stages.params.schema import load_params
from stages.plumbing import cluster
from stages.plumbing.cluster import map_batches

ROOT = Path(__file__).parents[1]


def pixels(visual_part, item="a", seed=1, size=128):
    return np.asarray(illustrate(visual_part, item, seed, size).image, dtype=np.int16)


def extent(visual_part):
    """Share of the image that changes when the things are left out of the same scenery."""
    place = visual_part.partition(" in ")[2]
    different = np.abs(pixels(visual_part) - pixels(f"in {place}")).max(axis=-1) > 25
    return different.mean()


def test_equal_calls_give_equal_bytes_and_other_ids_give_other_images():
    first, again = (illustrate("a small dog in a park", "clip-1", 1, 96).image for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != illustrate("a small dog in a park", "clip-2", 1, 96).image.tobytes()
    assert first.tobytes() != illustrate("a small dog in a park", "clip-1", 2, 96).image.tobytes()
    assert first.mode == "RGB"
    assert first.size == (96, 96)


@pytest.mark.parametrize("noun", ["bell", "dog", "engine", "cricket", "phone"])
def test_size_is_seen(noun):
    small, normal, large = (extent(f"a {size}{noun} in a hall") for size in ("small ", "", "large "))
    assert small * 1.7 < normal
    assert normal * 1.5 < large


@pytest.mark.parametrize("source", sorted(WORDS))
def test_a_vision_tower_has_patches_enough_to_know_even_a_small_thing(source):
    noun = WORDS[source].noun.format(size="small", material="steel").replace("a steel", "a small steel")
    subject = np.abs(pixels(f"{noun} in a hall", size=224) - pixels("in a hall", size=224)).max(axis=-1) > 25
    patches = subject.reshape(8, 28, 8, 28).mean(axis=(1, 3)) > 0.15
    assert patches.sum() >= 6
    assert sharpness(pixels("in a hall", size=224)) < 0.5 * sharpness(pixels(f"{noun} in a hall", size=224))


def sharpness(image):
    """How much of an image are edges as strong as a pictogram's outline."""
    grey = image.mean(axis=-1)
    return (np.abs(np.diff(grey, axis=0)) > 40).mean() + (np.abs(np.diff(grey, axis=1)) > 40).mean()


def test_no_two_sceneries_look_alike():
    looks = {(row.upper, row.lower, row.pattern, row.features, row.support): row.name for row in place_rows().values()}
    drawn = [(name, pixels(f"in {name}")) for name in looks.values()]
    alike = [
        (one, other)
        for (one, first), (other, second) in itertools.combinations(drawn, 2)
        if (np.abs(first - second).max(axis=-1) > 12).mean() < 0.01
    ]
    assert alike == []


def test_the_number_of_processes_changes_no_byte(monkeypatch):
    params = load_params(ROOT / "params.yaml").images
    rows = [{"id": f"clip-{n}", "visual_part": part} for n, part in enumerate(["a small bell", "a dog in a park"] * 10)]
    drawn = []
    for count in (1, 2):
        monkeypatch.setattr(cluster, "core_count", lambda count=count: count)
        drawn.append(list(map_batches(partial(images.pictograms, params), [[row] for row in rows])))
    assert drawn[0] == drawn[1]
    with pytest.raises(ValueError, match="names nothing to draw"):
        list(map_batches(partial(images.pictograms, params), [[{"id": "a", "visual_part": ","}]] * 20))


def test_material_changes_the_thing_and_metals_differ_from_wood():
    brass, wooden, bare = (
        np.asarray(picture("🔔", looks), dtype=np.float64) for looks in [("brass",), ("wooden",), ()]
    )
    body = bare[..., 3] > 0
    assert np.abs(brass - wooden)[body].mean() > 15
    assert np.abs(bare - wooden)[body].mean() > 15


def test_indoors_and_outdoors_look_different():
    sky = pixels("a dog in a field")[:20].mean(axis=(0, 1))
    wall = pixels("a dog in a kitchen")[:20].mean(axis=(0, 1))
    assert sky[2] > sky[0] + 15, "a sky is blue"
    assert wall[0] >= wall[2], "a kitchen wall is warm"


@pytest.mark.parametrize(
    ("visual_part", "drawn"),
    [
        ("men and children", ["man", "child"]),
        ("truck on a road", ["delivery truck"]),
        ("a police car", ["police car"]),
        ("a large old engine in a workshop", ["gear"]),
        ("a dog and a bell by a lake", ["dog", "bell"]),
        ("red car on a highway", ["automobile"]),
        ("large boots on oak stairs in a tower", ["hiking boot", "stairs"]),
        ("food frying in a pan", ["pot of food", "cooking"]),
        ("a sea lion on the rocks", ["seal"]),
        ("a guinea pig in a garden", ["hamster"]),
        ("a red race car on a summer day", ["racing car"]),
    ],
)
def test_nouns_find_their_pictograms(visual_part, drawn):
    picture_of = illustrate(visual_part, "a", 1, 64)
    assert picture_of.drawn == drawn
    assert picture_of.missing == []


def test_what_is_said_is_read():
    scene = parse("three small brass bells in a church")
    (bell,) = scene.things
    assert (bell.noun, bell.size, bell.materials, bell.count) == ("bell", "small", ("brass",), 3)
    assert scene.scenery is not None
    assert (scene.scenery.name, scene.scenery.indoor) == ("church", True)
    assert parse("a crowd of people").things[0].count > parse("a person").things[0].count
    assert [thing.size for thing in parse("a large dog and a tiny bell").things] == ["large", "small"]


def test_a_noun_without_pictogram_is_drawn_as_a_word_and_listed():
    result = illustrate("a spinet and a dog", "a", 1, 128)
    assert result.missing == ["spinet"]
    assert result.drawn == ["dog"]
    other = illustrate("a zither and a dog", "a", 1, 128)
    assert result.image.tobytes() != other.image.tobytes(), "the word itself stands in the image"


@pytest.mark.parametrize("empty", ["", " ,;! "])
def test_a_visual_part_without_words_is_refused(empty):
    with pytest.raises(ValueError, match="names nothing to draw"):
        illustrate(empty, "a", 1, 64)


PLAIN = ["a", "the", "in", "on", "by", "and", ",", "small", "large", "three", "crowd", "of", "zither", "7", "犬"]
VOCABULARY = [*PLAIN, "running", *sorted({*noun_rows(), *place_rows(), *material_rows()})]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=7).map(" ".join))
def test_any_words_give_an_image_that_accounts_for_every_thing(visual_part):
    if not visual_part.strip(" ,"):
        return
    result = illustrate(visual_part, "a", 1, 64)
    scene = parse(visual_part)
    assert result.image.size == (64, 64)
    assert len(result.drawn) + len(result.missing) == len(scene.things) + (scene.support is not None)


def test_every_row_of_the_tables_can_be_drawn():
    for noun, (pictogram, several, where) in noun_rows().items():
        assert picture(pictogram, ()).getbbox(), noun
        assert several >= 1
        assert where in ("ground", "air", "sky")
        assert pictogram_name(pictogram) != pictogram
    for place in place_rows().values():
        assert place.pattern in PATTERNS, place.name
        drawn = illustrate(f"in {place.name}", "a", 1, 64).image.getcolors(64 * 64)
        assert drawn is not None
        assert len(drawn) > 1, place.name
        assert not place.support or len(place.support) == 1 or place.support in PROPS
    for material in material_rows():
        assert picture("🔔", (material,)).getbbox(), material


def test_checks_name_what_is_wrong(tmp_path):
    good = tmp_path / "good.png"
    illustrate("a dog in a park", "a", 1, 128).image.save(good)
    assert image_problems(good, 64, 4.0) == []
    assert image_problems(good, 129, 4.0) == ["image_too_small"]
    Image.new("RGB", (128, 128), "#808080").save(tmp_path / "blank.png")
    assert image_problems(tmp_path / "blank.png", 64, 4.0) == ["image_blank"]
    Image.new("RGBA", (32, 128), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert image_problems(tmp_path / "clear.png", 64, 4.0) == ["image_too_small", "image_blank"]
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:900])
    assert image_problems(tmp_path / "half.png", 64, 4.0) == ["image_undecodable"]
    assert image_problems(tmp_path / "none.png", 64, 4.0) == ["image_missing"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
@example(bytes(14), 119)
def test_damaged_files_are_reported_and_never_raise(tmp_path_factory, noise, at):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    data = buffer.getvalue()
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    path.write_bytes(data[:at] + noise)
    assert image_problems(path, 64, 4.0) != []


def run_stage(tmp_path, monkeypatch, rows):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data").mkdir(exist_ok=True)
    lines = [json.dumps({"split": "train", "caption": "", "text_part": "", "added": [], **row}) for row in rows]
    (tmp_path / "data" / "decomposed.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    images.main()
    return [json.loads(line) for line in (tmp_path / "data/images/metadata.jsonl").read_text("utf-8").splitlines()]


def test_stage_writes_an_image_per_visual_part_and_skips_rows_without_one(tmp_path, monkeypatch):
    rows = [
        {"id": "b", "visual_part": "a dog & a spinet", "reason": None},
        {"id": "a", "visual_part": "A Small Bell/in a church", "reason": None},
        {"id": "c", "visual_part": None, "reason": "nothing_seen"},
    ]
    metadata = run_stage(tmp_path, monkeypatch, rows)
    folder = tmp_path / "data" / "images"
    assert [row["file_name"] for row in metadata] == ["a_a-small-bell-in-a-church.png", "b_a-dog-a-spinet.png"]
    assert metadata[1]["missing"] == ["spinet"]
    for row in metadata:
        assert image_problems(folder / row["file_name"], 64, 4.0) == []
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    run_stage(tmp_path, monkeypatch, rows[::-1])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_without_any_visual_part_there_is_no_image_and_quality_control_has_the_word(tmp_path, monkeypatch, capsys):
    assert run_stage(tmp_path, monkeypatch, [{"id": "c", "visual_part": None, "reason": "nothing_seen"}]) == []
    assert "0 images in data/images" in capsys.readouterr().out
