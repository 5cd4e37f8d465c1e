"""Quality control: which pairs pass, which reason each other one gets, when the stage refuses to go on."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.formats.files import read_jsonl, write_jsonl
from stages.imagery.checks import PerceptualHashes
from stages.language.text import is_profane
from stages.quality import check_reject_rate, main, pair_problems
from stages.report import contact_sheet

ROOT = Path(__file__).parents[1]


def pair(number: int, **changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "id": f"clip-{number}",
        "split": "train",
        "caption": "A small bell rings slowly and softly.",
        "visual_part": "a small bell",
        "text_part": "rings slowly and softly",
        "added": [],
        "reason": None,
    }
    return row | changes


def lay_out(folder: Path, pairs: list[dict[str, object]], max_reject_rate: float, without_image: str = "") -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["quality"] |= {"min_words": 3, "max_words": 7, "max_reject_rate": max_reject_rate, "min_image_size": 64}
    params["quality"] |= {"min_image_deviation": 4.0, "near_duplicate_bits": 0, "profanity": "allow"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    write_jsonl(folder / "data/decomposed.jsonl", pairs)
    rows = []
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for row in pairs:
        if row["visual_part"] is not None and row["id"] != without_image:
            name = f"{row['id']}_bell.png"
            (folder / "data/images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).save(folder / "data/images" / name)
            rows.append({"file_name": name, "id": row["id"], "visual_part": row["visual_part"], "missing": []})
    write_jsonl(folder / "data/images/metadata.jsonl", rows)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_image_that_belongs_to_no_pair_is_named_with_a_remedy(workspace):
    lay_out(workspace, [pair(0), pair(1), pair(2)], max_reject_rate=0.9)
    write_jsonl(workspace / "data/decomposed.jsonl", [pair(0), pair(2)])
    with pytest.raises(ValueError, match=r"decomposed.jsonl: clip-1 is missing or out of order.*dvc repro images"):
        main()
    assert not Path("data/quality").exists()


def test_pairs_are_accepted_or_rejected_with_every_reason(workspace):
    pairs = [
        pair(0),
        pair(1, added=["small"]),
        pair(2, visual_part=None, text_part=None, reason="nothing_seen"),
        pair(3, text_part="a bell rings", visual_part="a bell"),
        pair(4),
        pair(5),
    ]
    lay_out(workspace, pairs, max_reject_rate=0.9, without_image="clip-4")
    Image.new("RGB", (32, 64), "white").save(workspace / "data/images/clip-5_bell.png")
    main()
    accepted = read_jsonl("data/quality/accepted.jsonl")
    assert [row["id"] for row in accepted] == ["clip-0", "clip-1"]
    assert accepted[0] == {
        "id": "clip-0",
        "split": "train",
        "caption": "A small bell rings slowly and softly.",
        "visual_part": "a small bell",
        "text_part": "rings slowly and softly",
        "image": "data/images/clip-0_bell.png",
    }
    assert {row["id"]: row["reasons"] for row in read_jsonl("data/quality/rejected.jsonl")} == {
        "clip-2": ["nothing_seen"],
        "clip-3": ["visual_part_too_short", "shared_words"],
        "clip-4": ["image_missing"],
        "clip-5": ["image_too_small", "image_blank"],
    }
    assert json.loads(Path("metrics/quality.json").read_text()) == {
        "pairs": 6,
        "accepted": 2,
        "rejected": 4,
        "accepted_share": 0.3333,
        "added_words_share": 0.5,
        "rejected_image_blank": 1,
        "rejected_image_missing": 1,
        "rejected_image_too_small": 1,
        "rejected_nothing_seen": 1,
        "rejected_shared_words": 1,
        "rejected_visual_part_too_short": 1,
    }


def test_too_many_rejects_end_the_stage_and_leave_what_was_there(workspace):
    lay_out(workspace, [pair(0), pair(1)], max_reject_rate=0.5)
    main()
    before = {
        path: path.read_bytes() for path in [*sorted(workspace.glob("data/quality/*")), Path("metrics/quality.json")]
    }
    bad = [pair(number, visual_part=None, text_part=None, reason="nothing_seen") for number in range(3)]
    write_jsonl("data/decomposed.jsonl", [*bad, pair(3, text_part="rings")])
    with pytest.raises(ValueError, match=r"quality\.max_reject_rate=0\.5: 100\.0% of 4 pairs .*nothing_seen 3, "):
        main()
    assert {path: path.read_bytes() for path in before} == before
    assert not list(workspace.glob("**/*.partial"))


def test_a_split_of_which_too_few_pairs_are_left_ends_the_stage_before_anything_is_trained(workspace):
    pairs = [pair(number) for number in range(6)]
    pairs += [pair(6 + number, split="test", **({"text_part": "rings"} if number > 1 else {})) for number in range(4)]
    lay_out(workspace, pairs, max_reject_rate=0.9)
    with pytest.raises(ValueError, match=r"2 of 4 test pairs are left, where later stages need 3 .*prepare\.clips"):
        main()
    assert not Path("data/quality").exists()


def test_a_reject_rate_at_the_limit_passes():
    check_reject_rate(3, 10, Counter(nothing_seen=3), 0.3)
    with pytest.raises(ValueError, match=r"40\.0% of 10"):
        check_reject_rate(4, 10, Counter(nothing_seen=4), 0.3)


def test_the_five_commonest_reasons_are_named():
    reasons = Counter({f"reason_{letter}": 10 - index for index, letter in enumerate("abcdefg")})
    with pytest.raises(ValueError, match="reason_a 10, reason_b 9, reason_c 8, reason_d 7, reason_e 6") as caught:
        check_reject_rate(9, 10, reasons, 0.3)
    assert "reason_f" not in str(caught.value)


def test_no_pairs_are_an_error():
    with pytest.raises(ValueError, match="holds no pairs"):
        check_reject_rate(0, 0, Counter(), 0.3)


def test_the_decomposers_reason_comes_alone(workspace):
    from stages.params.schema import load_params

    params = load_params(ROOT / "params.yaml").quality
    failed = pair(0, visual_part=None, text_part=None, reason="not_english")
    assert pair_problems(failed, None, params) == ["not_english"]


def set_quality(workspace, **changes):
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["quality"] |= changes
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))


def test_near_duplicates_of_an_accepted_image_are_rejected_by_option(workspace):
    lay_out(workspace, [pair(number) for number in range(5)], max_reject_rate=0.9)
    rng = np.random.default_rng(1)
    one, other = (
        np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).resize((64, 64))) for _ in range(2)
    )
    darker = (one * 0.9).astype(np.uint8)
    for number, pixels in enumerate([one, other, darker, one[:, ::-1], other]):
        Image.fromarray(pixels).save(workspace / f"data/images/clip-{number}_bell.png")
    main()
    assert read_jsonl("data/quality/rejected.jsonl") == []
    set_quality(workspace, near_duplicate_bits=5)
    main()
    rejected = {row["id"]: row["reasons"] for row in read_jsonl("data/quality/rejected.jsonl")}
    assert rejected == {"clip-2": ["image_near_duplicate"], "clip-4": ["image_near_duplicate"]}


hashes = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(hashes, st.sets(st.integers(0, 63), max_size=6)), max_size=12), st.integers(1, 8))
def test_near_hashes_are_found_as_by_comparing_all(drawn, bits):
    values = [value for value, flips in drawn for value in (value, value ^ sum(1 << bit for bit in flips))]
    seen = PerceptualHashes(bits)
    kept: list[int] = []
    for value in values:
        near = any((value ^ other).bit_count() < bits for other in kept)
        assert seen.add(value) == near
        if not near:
            kept.append(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a man shouts fucking loudly", True),
        ("two assholes argue", True),
        ("a bull-shit speech", True),
        ("a cock crows at dawn", False),
        ("a classic passenger train", False),
        ("a great tit sings in Scunthorpe", False),
    ],
)
def test_swear_words_are_found_in_any_inflection(text, found):
    assert is_profane(text) is found


def test_swearing_is_rejected_by_option(workspace):
    pairs = [pair(0), pair(1, text_part="damn loud ringing"), pair(2)]
    lay_out(workspace, pairs, max_reject_rate=0.9)
    main()
    assert read_jsonl("data/quality/rejected.jsonl") == []
    set_quality(workspace, profanity="reject")
    main()
    assert [row["reasons"] for row in read_jsonl("data/quality/rejected.jsonl")] == [["profane"]]


def sheet(*words):
    parser = argparse.ArgumentParser()
    contact_sheet.add_arguments(parser)
    contact_sheet.main(parser.parse_args(list(words)))


def test_the_contact_sheet_shows_both_kinds_with_words_and_reasons(workspace, capsys):
    pairs = [pair(n, caption="A <small> bell") for n in range(4)]
    pairs += [pair(4, text_part="a bell rings"), pair(5, visual_part=None, text_part=None, reason="nothing_seen")]
    lay_out(workspace, pairs, max_reject_rate=0.9)
    main()
    sheet("--out", "sheet.html")
    page = Path("sheet.html").read_text()
    assert page.count("data:image/png;base64,") == 4 + 1
    assert "4 accepted" in page
    assert "2 rejected" in page
    assert "nothing_seen" in page
    assert "shared_words" in page
    assert "A &lt;small&gt; bell" in page
    assert "http" not in page
    assert "4 of 4 accepted, 2 of 2 rejected pairs" in capsys.readouterr().out


def test_the_contact_sheet_says_what_it_can_write(workspace):
    with pytest.raises(ValueError, match=r"--out=sheet\.pdf: the sheet is a page; name an \.html file"):
        sheet("--out", "sheet.pdf")
