"""Errors of a language model's server end a run in one line; no key or other secret is ever shown or kept."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from tests.language_stage import CAPTIONS, KEY, asked, environment, lay_out, stage


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("401:invalid_api_key", "error: OPENAI_API_KEY: the server does not take it (401)"),
        ("403:forbidden", "error: OPENAI_API_KEY: may not use decompose.model=gpt-4.1 (403)"),
        ("404:model_not_found", "error: decompose.model=gpt-4.1: the server knows no such model (404)"),
        ("429:insufficient_quota", "error: decompose: the account's quota is used up (insufficient_quota)"),
        ("400:bad_request", "error: decompose: the server refuses the request (400)"),
    ],
)
@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_errors_that_no_second_try_mends_end_at_once_in_one_line_without_the_key(
    tmp_path, start_server, error, line, mode
):
    address, log = start_server(error=error)
    folder = lay_out(tmp_path / "run", CAPTIONS, mode=mode)
    done = stage(folder, address)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(line)
    assert done.stderr.count("error:") == 1
    assert not (folder / "data/decomposed.jsonl").exists()
    assert 1 <= len(asked(log)) <= len(CAPTIONS)
    assert KEY not in done.stdout + done.stderr


def test_a_fatal_error_ends_the_run_while_others_wait_for_an_hour(tmp_path, start_server):
    address, _ = start_server(poison=1)
    folder = lay_out(tmp_path / "run", ["A poison", *CAPTIONS])
    done = stage(folder, address)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: OPENAI_API_KEY: the server does not take it (401)")


def test_without_a_key_one_line_says_what_to_set(tmp_path):
    folder = lay_out(tmp_path / "run", CAPTIONS)
    done = stage(folder, "", OPENAI_API_KEY="")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: OPENAI_API_KEY: not set")


SECRETS = {
    "OPENAI_API_KEY": KEY,
    "OPENAI_ORG_ID": "org-planted",
    "OPENAI_PROJECT_ID": "proj-planted",
    "OPENAI_CUSTOM_HEADERS": "X-Gate: gate-planted",
}


def assert_no_secret_shown_or_kept(done, folder):
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for secret in [*(value.rpartition(" ")[2] for value in SECRETS.values()), "password-planted", PASSWORD_AS_SENT]:
        assert secret not in done.stdout + done.stderr
        assert [path for path, content in files.items() if secret.encode() in content] == []


# What a proxy with a password in its address is sent.
PASSWORD_AS_SENT = base64.b64encode(b"me:password-planted").decode()


@pytest.mark.slow
def test_no_secret_is_in_any_log_output_cache_or_mlflow_entry(tmp_path, start_server, empty_store):
    """By the command itself: what is written as a program starts counts too."""
    address, _ = start_server(fault_share=0.5, time_out=0.01)
    folder = lay_out(tmp_path / "run", CAPTIONS)
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    words = [sys.executable, "-m", "stages.decompose"]
    settings = environment(address, BIND_AN_AUDIO_TRACKING="on", OPENAI_LOG="debug", **SECRETS)
    done = subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DEBUG" in done.stderr
    assert b"decompose.model" in (folder / "mlflow.db").read_bytes()
    assert (folder / ".cache/replies.sqlite").exists()
    assert_no_secret_shown_or_kept(done, folder)


@pytest.mark.parametrize(("mode", "proxy"), [("direct", True), ("batch", False)])
@pytest.mark.parametrize(
    "error", ["401:bad_key", "403:forbidden", "404:no_model", "429:insufficient_quota", "400:bad", "422:odd"]
)
def test_no_secret_is_in_the_text_of_an_error_even_where_the_server_says_it_back(
    tmp_path, start_server, error, mode, proxy
):
    address, _ = start_server(error=error)
    if proxy:
        address = address.replace("http://", "http://me:password-planted@")
    folder = lay_out(tmp_path / "run", CAPTIONS[:2], mode=mode)
    done = stage(folder, address, OPENAI_LOG="debug", BIND_AN_AUDIO_TRACEBACK="1", **SECRETS)
    assert done.returncode == 1
    assert "DEBUG openai" in done.stderr
    assert "Traceback" in done.stderr
    assert_no_secret_shown_or_kept(done, folder)


@pytest.mark.parametrize("fault", ["500:oops", "reset"])
@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_no_secret_is_in_the_last_words_after_too_many_failures(tmp_path, start_server, monkeypatch, fault, mode):
    address, _ = start_server(error=fault) if fault != "reset" else ("http://me:password-planted@127.0.0.1:9/v1", None)
    folder = lay_out(tmp_path / "run", CAPTIONS[:1], mode=mode)
    monkeypatch.setattr("stages.language_model.client.TRIES", 2)
    done = stage(folder, address, **SECRETS)
    assert done.returncode == 1
    assert "the server failed 2 times in a row" in done.stderr
    assert_no_secret_shown_or_kept(done, folder)
