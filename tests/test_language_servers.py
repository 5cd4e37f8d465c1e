"""Servers that refuse, drip, page, forget or want another address: what they cost, and what the user is told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.formats.keys import request_key
from stages.language_model import bill, client
from stages.language_model.conversation import first_request, load_prompt
from stages.language_model.request_cache import Reply, RequestCache
from stages.params.schema import load_params
from tests.language_stage import CAPTIONS, KEY, asked, environment, kept_keys, lay_out, rows_of, stage
from tests.loopback_openai import NO_ANSWERS, answer_to

DOGS = [f"A dog number {n} barks loudly in a garden while a man speaks softly" for n in range(12)]


def assert_answered(folder, captions):
    for row in rows_of(folder):
        assert {key: row[key] for key in ("visual_part", "text_part")} == answer_to(row["caption"])
    assert [row["caption"] for row in rows_of(folder)] == captions


def paths(log):
    return Counter(request["path"] for request in asked(log) if "path" in request)


def test_what_an_earlier_version_kept_and_is_no_answer_is_asked_again(tmp_path, start_server):
    address, log = start_server()
    captions = DOGS[: len(NO_ANSWERS)]
    folder = lay_out(tmp_path / "run", captions, attempts=1)
    params = load_params(folder / "params.yaml").decompose
    with closing(RequestCache(folder / ".cache/replies.sqlite")) as cache:
        for caption, text in zip(captions, NO_ANSWERS, strict=True):
            key = request_key(first_request(caption, load_prompt(params), params))
            cache._base.execute("INSERT INTO replies VALUES (?, ?, 'direct')", (key, text))
    assert stage(folder, address).returncode == 0
    assert_answered(folder, captions)
    assert len(asked(log)) == len(captions)
    assert stage(folder, address).returncode == 0
    assert len(asked(log)) == len(captions)


def test_batches_whose_replies_rows_and_files_are_no_answers_lose_nothing(tmp_path, start_server):
    address, log = start_server(no_answers=1)
    folder = lay_out(tmp_path / "run", DOGS, mode="batch")
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert_answered(folder, DOGS)
    rows = Counter(request["key"] for request in asked(log) if "key" in request)
    # Of twelve rows two failed and two were no answers; a batch whose making was not answered for is not made again.
    assert sorted(rows.values()) == [1] * 8 + [2] * 4


@pytest.mark.parametrize("mode", ["direct", "batch"])
@pytest.mark.parametrize(
    "fields", ["seed", "max_completion_tokens", "seed,response_format,max_completion_tokens,max_tokens"]
)
def test_what_a_server_refuses_by_name_is_left_out_and_told(tmp_path, start_server, fields, mode):
    address, log = start_server(refuses=fields, bodies=1)
    folder = lay_out(tmp_path / "run", CAPTIONS[:3], mode=mode)
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert_answered(folder, CAPTIONS[:3])
    for name in fields.split(","):
        assert f"the server refuses {name} " in done.stderr
    assert "Extra inputs are not permitted" in done.stderr
    accepted = [request["body"] for request in asked(log) if request.get("body") and request["fault"] is None]
    for body in accepted:
        assert not set(body) & set(fields.split(","))
        assert ("max_tokens" in body) == (fields == "max_completion_tokens")
    # Another server, or this one mended: the replies are known as before.
    count = len(asked(log))
    assert stage(folder, start_server()[0]).returncode == 0
    assert len(asked(log)) == count


def test_a_refusal_that_names_nothing_ends_with_its_reason(tmp_path, start_server):
    address, _ = start_server(refuses="messages")
    done = stage(lay_out(tmp_path / "run", CAPTIONS[:1]), address)
    assert done.returncode == 1
    assert "the server refuses the request (422): " in done.stderr.splitlines()[-1]
    assert "Extra inputs are not permitted" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_a_caption_that_the_servers_filter_refuses_is_rejected_and_holds_up_no_other(tmp_path, start_server, mode):
    address, log = start_server(filters="number-3-")
    captions = ["A dog number-3- barks loudly in a garden", *DOGS]
    folder = lay_out(tmp_path / "run", captions, mode=mode, attempts=2)
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert [row["reason"] for row in rows_of(folder)] == ["answer_refused"] + [None] * len(DOGS)
    count = len(asked(log))
    assert stage(folder, address).returncode == 0
    assert len(asked(log)) == count


def test_a_model_that_thinks_longer_than_the_usual_limit_gets_a_higher_one(tmp_path, start_server):
    address, log = start_server(thinks=1000, bodies=1)
    folder = lay_out(tmp_path / "run", CAPTIONS[:2], attempts=1)
    assert stage(folder, address).returncode == 0
    assert_answered(folder, CAPTIONS[:2])
    assert len(asked(log)) == 4
    assert stage(folder, address).returncode == 0
    assert len(asked(log)) == 4


@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_a_body_that_drips_is_given_up_and_asked_for_again(tmp_path, start_server, mode):
    address, log = start_server(drip=1)
    folder = lay_out(tmp_path / "run", CAPTIONS[:1], mode=mode)
    assert stage(folder, address, BIND_AN_AUDIO_REQUEST_SECONDS="1").returncode == 0
    assert_answered(folder, CAPTIONS[:1])
    assert sum("given_up" in request for request in asked(log)) == 1


def test_a_long_wait_is_told_with_its_end(tmp_path, start_server):
    address, _ = start_server(retry_after=30240)
    folder = lay_out(tmp_path / "run", CAPTIONS[:1])
    words = [sys.executable, "-m", "stages.decompose"]
    process = subprocess.Popen(words, cwd=folder, env=environment(address), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "next try at " in line)
    finally:
        process.kill()
        process.wait()
    assert "429 (too many requests); next try at 20" in line


def test_a_long_wait_is_told_also_after_the_clock_was_put_back(monkeypatch, capsys):
    class Yesterday(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    later = time.monotonic() + 300
    asker = client.Client("a-model")
    asker._tell_pause(60.0, "first")
    monkeypatch.setattr(client, "datetime", Yesterday)
    monkeypatch.setattr(time, "monotonic", lambda: later)
    asker._tell_pause(60.0, "second")
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["first;", "second;"]


def test_a_wait_of_more_than_a_day_ends_the_run(tmp_path, start_server):
    address, _ = start_server(retry_after=200_000)
    done = stage(lay_out(tmp_path / "run", CAPTIONS[:1]), address)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: decompose: the server takes nothing before 20")


def test_a_batch_over_the_token_limit_is_halved_until_it_fits(tmp_path, start_server):
    address, log = start_server(batch_rows=4)
    folder = lay_out(tmp_path / "run", DOGS, mode="batch")
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert_answered(folder, DOGS)
    rows = Counter(request["key"] for request in asked(log) if "key" in request)
    assert sorted(rows.values()) == [1] * 12


def test_one_request_over_the_token_limit_ends_the_run_with_the_servers_reason(tmp_path, start_server):
    address, _ = start_server(batch_rows=0)
    done = stage(lay_out(tmp_path / "run", DOGS[:3], mode="batch"), address)
    assert done.returncode == 1
    assert "token_limit_exceeded: Enqueued token limit reached" in done.stderr.splitlines()[-1]


def test_a_batch_that_the_server_does_not_know_any_more_is_sent_again(tmp_path, start_server):
    address, _ = start_server()
    folder = lay_out(tmp_path / "run", CAPTIONS[:3], mode="batch")
    with closing(RequestCache(folder / ".cache/replies.sqlite")) as cache:
        cache.put_batch("digest", "batch-of-another-project")
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert "batch-of-another-project: the server does not have it any more" in done.stdout
    assert_answered(folder, CAPTIONS[:3])
    with closing(RequestCache(folder / ".cache/replies.sqlite")) as cache:
        assert cache.open_batches() == []


def test_a_wrong_address_closes_no_batch(tmp_path, start_server):
    address, _ = start_server(error="404:not_found")
    folder = lay_out(tmp_path / "run", CAPTIONS[:3], mode="batch")
    with closing(RequestCache(folder / ".cache/replies.sqlite")) as cache:
        cache.put_batch("digest", "batch-of-this-project")
    done = stage(folder, address)
    assert done.returncode == 1
    assert "OPENAI_BASE_URL" in done.stderr.splitlines()[-1]
    assert "lacks /v1" in done.stderr.splitlines()[-1]
    with closing(RequestCache(folder / ".cache/replies.sqlite")) as cache:
        assert cache.open_batches() == [("digest", "batch-of-this-project")]


@pytest.mark.parametrize(
    "address",
    ["localhost:11434/v1", "api.example.com/v1", "", " ", "http://", "https:///v1", "ftp://host/v1", "http://host:port/v1",
     "http://host/v1\r", " http://host/v1", "http://me:password-planted@host :1/v1", "http://host:99999/v1"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_before_anything_is_sent(monkeypatch, address):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(ValueError, match="OPENAI_BASE_URL: no address such as http://localhost:11434/v1") as refused:
        client.client_settings()
    assert "password-planted" not in str(refused.value)


@pytest.mark.parametrize("name", client.SECRET_VARIABLES)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text(st.sampled_from("aZ-_9")))
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(name, odd, plain):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
        patch.setenv(name, KEY + odd + plain)
        if all("!" <= character <= "~" for character in odd):
            client.client_settings()
        else:
            with pytest.raises(ValueError, match=f"^{name}: holds a space, a line end or another") as refused:
                client.client_settings()
            assert KEY not in str(refused.value)


@pytest.mark.parametrize("changes", [{"OPENAI_BASE_URL": "localhost:1/v1"}, {"OPENAI_API_KEY": f"{KEY}\r"}])
def test_the_stage_says_so_in_one_line_at_once(tmp_path, changes):
    done = stage(lay_out(tmp_path / "run", CAPTIONS[:1]), "http://127.0.0.1:9/v1", **changes)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {next(iter(changes))}: ")
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_a_paid_model_without_a_known_price_is_refused_before_a_request(tmp_path, mode):
    folder = lay_out(tmp_path / "run", CAPTIONS[:1], model="mystery-1", mode=mode)
    elsewhere = "https://models.example.invalid/v1"
    done = stage(folder, elsewhere)
    assert done.returncode == 1
    line = "decompose.model=mystery-1: its price is not in stages/language_model/prices.tsv"
    assert done.stderr.splitlines()[-1].startswith(f"error: {line}")
    assert not kept_keys(folder)
    assert line in stage(folder, elsewhere, "--estimate").stdout


def test_a_server_of_ones_own_needs_no_price(tmp_path, start_server):
    address, _ = start_server()
    folder = lay_out(tmp_path / "run", CAPTIONS[:2], model="llama3")
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert "a server of your own" in done.stdout
    assert_answered(folder, CAPTIONS[:2])


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://192.168.1.7/v1", True),
        ("http://10.0.0.2/v1", True),
        ("http://gpu-box:8000/v1", True),
        ("http://gpu.local/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://openrouter.ai/api/v1", False),
        ("http://8.8.8.8/v1", False),
        ("", False),
    ],
)
def test_whose_server_it_is(monkeypatch, address, own):
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    assert client.is_own_server() == own


@pytest.mark.parametrize("price", ["2.00 0.50 8.00", "2.00\t\t8.00", "nan\t0\t0", "-1\t0\t0", "inf\t0\t0"])
def test_a_price_that_is_no_number_is_named(tmp_path, monkeypatch, price):
    table = tmp_path / "prices.tsv"
    table.write_text(f"model\tinput\tcached_input\toutput\tdate\tsource\nmine\t{price}\t2026-01-01\tme\n")
    monkeypatch.setattr(bill, "PRICES", table)
    with pytest.raises(ValueError, match=r"prices\.tsv: mine needs three prices"):
        bill.price_of("mine")


def test_a_reply_whose_tokens_were_not_counted_is_not_free():
    price = bill.price_of("gpt-4.1")
    for usage in ({}, {"usage": None}, {"usage": {"prompt_tokens": None}}):
        assert bill.reply_cost(price, Reply(json.dumps(usage), "direct")) > 0
