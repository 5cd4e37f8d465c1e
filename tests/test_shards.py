"""Images and clips in tar shards: the same pairs, embeddings and pictures as from files, and readable elsewhere."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.corpus.clips import iterate_images
from stages.formats.files import read_jsonl, write_jsonl
from stages.formats.shards import in_shards, open_file, write_shard
from stages.images import about, main
from tests.scratch_clone import ROOT, change_params
from tests.shell import run_stages

VISUAL_PARTS = ["a small brass bell", "a man and a dog", "a red car", "a frog by a pond", "waves on rocks"]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Five captions to draw, two images a shard."""
    rows = [{"id": f"clip-{number}", "visual_part": part} for number, part in enumerate(VISUAL_PARTS)]
    write_jsonl(tmp_path / "data/decomposed.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    change_params(source=ROOT / "params.yaml", images={"shard_size": 2})
    return tmp_path


def image_paths() -> list[str]:
    return [row["file_name"] for row in iterate_images()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_more_images_than_a_shard_holds_become_shards_and_one_list_the_same_twice(workspace):
    main()
    first = contents(Path("data/images"))
    assert list(first) == ["images-00000.tar", "images-00001.tar", "images-00002.tar", "metadata.jsonl"]
    main()
    assert contents(Path("data/images")) == first


def test_shards_hold_the_very_images_that_files_hold(workspace):
    main()
    sharded = {Path(path).name: open_file(path).read() for path in image_paths()}
    change_params(images={"shard_size": 5})
    main()
    assert [row["id"] for row in iterate_images()] == [f"clip-{number}" for number in range(5)]
    assert {path.name: path.read_bytes() for path in Path("data/images").glob("*.png")} == sharded
    change_params(images={"shard_size": 0})
    main()
    assert len(list(Path("data/images").glob("*.png"))) == 5


def test_the_webdataset_and_pandas_libraries_read_the_shards(workspace):
    import pandas
    import webdataset

    main()
    shards = [str(path) for path in sorted(Path("data/images").glob("*.tar"))]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples][:2] == ["clip-0_a-small-brass-bell", "clip-1_a-man-and-a-dog"]
    with Image.open(io.BytesIO(samples[4]["png"])) as image:
        assert image.size == (224, 224)
    assert json.loads(samples[4]["json"])["visual_part"] == "waves on rocks"
    listed = pandas.read_json("data/images/metadata.jsonl", lines=True)
    assert list(listed["file_name"].str[:12]) == ["images-00000"] * 2 + ["images-00001"] * 2 + ["images-00002"]
    assert list(listed["visual_part"]) == VISUAL_PARTS


def test_clips_move_into_shards_with_their_pictures_and_rows(tmp_path):
    rows = [{"file_name": f"{name}.flac", "id": name, "image": f"{name}.jpg"} for name in "abc"]
    for row in rows:
        (tmp_path / row["file_name"]).write_bytes(row["id"].encode())
        (tmp_path / row["image"]).write_bytes(row["id"].upper().encode())
    assert in_shards(tmp_path, "clips", rows, 3) == in_shards(tmp_path, "clips", rows, 0) == rows
    moved = in_shards(tmp_path, "clips", rows, 2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["clips-00000.tar", "clips-00001.tar"]
    for row, place in zip(rows, moved, strict=True):
        assert open_file(tmp_path / place["file_name"]).read() == row["id"].encode()
        assert open_file(tmp_path / place["image"]).read() == row["id"].upper().encode()
        assert json.loads(open_file((tmp_path / place["image"]).with_suffix(".json")).read()) == row


def test_a_stage_that_fails_half_way_leaves_the_last_images_alone(workspace, monkeypatch):
    main()
    before = contents(Path("data/images"))
    drawn = iter(range(3))

    def draw(row, params):
        next(drawn, None) or (_ for _ in ()).throw(KeyboardInterrupt)
        return about(row) | {"drawn": [], "missing": []}, b"png"

    monkeypatch.setattr("stages.images.draw_pictogram", draw)
    with pytest.raises(KeyboardInterrupt):
        main()
    assert contents(Path("data/images")) == before
    assert [path.name for path in Path("data").iterdir() if "images" in path.name] == ["images"]


@pytest.mark.parametrize("damage", ["truncated", "nothing", "noise"])
def test_a_damaged_shard_or_list_is_named_with_a_remedy(workspace, damage):
    main()
    paths = image_paths()
    for name in ("images-00001.tar", "metadata.jsonl"):
        file = Path("data/images") / name
        whole = file.read_bytes()
        file.write_bytes({"truncated": whole[: len(whole) // 2], "nothing": b"", "noise": b"x" * len(whole)}[damage])
    with pytest.raises(ValueError, match=r"images-00001.tar: no whole tar file .*dvc checkout"):
        open_file(paths[2])
    if damage != "nothing":  # an empty list is one without images, as `quality` says
        with pytest.raises(ValueError, match=r"metadata.jsonl, line \d: not JSON .*mend"):
            image_paths()
    assert open_file(paths[0]).read()[:4] == b"\x89PNG"


def test_an_image_that_its_shard_does_not_hold_is_missing(workspace):
    main()
    with pytest.raises(FileNotFoundError):
        open_file("data/images/images-00000.tar/clip-7_bell.png")
    with pytest.raises(FileNotFoundError):
        open_file("data/images/images-00009.tar/clip-0_a-small-brass-bell.png")


@given(
    rows=st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,120}", fullmatch=True), st.text(max_size=80), min_size=1),
    data=st.data(),
)
def test_any_id_and_visual_part_comes_back_from_a_shard(tmp_path_factory, rows, data):
    shard = tmp_path_factory.mktemp("shard") / "images-00000.tar"
    names = [about({"id": item, "visual_part": part})["file_name"] for item, part in rows.items()]
    files = {name: data.draw(st.binary(max_size=1500)) for name in names}
    write_shard(shard, ((Path(name).stem, {"png": content}) for name, content in files.items()))
    assert {name: open_file(shard / name).read() for name in names} == files


@pytest.mark.slow
def test_the_pipeline_gives_the_same_pairs_and_embeddings_from_shards(reproduced: Path, project: Path):
    for folder in ("corpus", "images", "quality", "embeddings"):
        shutil.rmtree(project / "data" / folder)
    change_params(project / "params.yaml", prepare={"shard_size": 25}, images={"shard_size": 25})
    run_stages(project, "prepare", "images", "quality", "embed")

    assert sorted(path.name for path in (project / "data/corpus").glob("*.tar"))[0] == "clips-00000.tar"
    assert not list((project / "data/corpus").glob("*.flac"))
    assert len(list((project / "data/images").glob("*.tar"))) == len(list((project / "data/corpus").glob("*.tar"))) > 2
    for split in ("train", "valid", "test"):
        name = f"data/embeddings/{split}.safetensors"
        assert (project / name).read_bytes() == (reproduced / name).read_bytes()
    for name in ("accepted", "rejected"):
        here, there = (read_jsonl(folder / f"data/quality/{name}.jsonl") for folder in (reproduced, project))
        for one, other in zip(here, there, strict=True):
            image, place = one.pop("image", ""), other.pop("image", "")
            assert one == other
            assert Path(image).name == Path(place).name
