"""Storage on S3, by a server on loopback: docs/data_generation.md's way of trying a remote, and wrong settings."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import pytest

from stages.tracking.dependencies import content_md5
from tests.scratch_clone import ROOT
from tests.serving import free_port
from tests.shell import sh, wait_until

pytestmark = pytest.mark.slow
SECRET = "planted-secret-0123456789"


@pytest.fixture(scope="module")
def server():
    """Address and keys of an S3 server with a bucket `shelf`; it takes those keys alone."""
    import boto3
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    anyone = {
        "endpoint_url": address,
        "aws_access_key_id": "a",
        "aws_secret_access_key": "b",
        "region_name": "us-east-1",
    }
    boto3.client("s3", **anyone).create_bucket(Bucket="shelf")
    users = boto3.client("iam", **anyone)
    users.create_user(UserName="reader")
    everything = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    users.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=everything)
    keys = users.create_access_key(UserName="reader")["AccessKey"]
    free_requests(address, b"0")
    yield address, keys["AccessKeyId"], keys["SecretAccessKey"]
    free_requests(address, b"inf")
    running.stop()


def free_requests(address, count):
    """Let so many more requests pass without looking at their keys."""
    plain = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{address}/moto-api/reset-auth", data=count, headers=plain)
    urllib.request.urlopen(request).read()


@pytest.fixture
def repository(server, tmp_path, monkeypatch):
    """A repository with one tracked file, and what sets its remote `store` up (changes: None means unset)."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    address, key, secret = server
    folder = tmp_path / "repository"
    folder.mkdir()
    sh(folder, "git", "init", "--quiet")
    sh(folder, "dvc", "init", "--quiet")
    (folder / "quality").write_text("accepted\n")
    sh(folder, "dvc", "add", "--quiet", "quality")
    usual = {"endpointurl": address, "access_key_id": key, "secret_access_key": secret, "region": "us-east-1"}

    def set_up(url="s3://shelf/project", **changes):
        (folder / ".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")
        lines = [f"    {name} = {value}\n" for name, value in (usual | changes).items() if value is not None]
        (folder / ".dvc/config.local").write_text("['remote \"store\"']\n" + "".join(lines))
        sh(folder, "git", "add", "--all")
        sh(folder, "git", "commit", "--quiet", "--message", "x")
        return folder

    return set_up


def test_a_bucket_gives_a_fresh_clone_what_was_pushed(repository):
    folder = repository()
    sh(folder, "dvc", "push", "--remote", "store", "quality")
    sh(folder, "git", "clone", "--quiet", ".", "../probe")
    probe = folder.parent / "probe"
    sh(folder, "cp", ".dvc/config.local", "../probe/.dvc/")
    sh(probe, "dvc", "pull", "--remote", "store", "quality")
    assert (probe / "quality").read_text() == "accepted\n"


def test_a_remote_that_vanishes_during_a_push_is_told_and_the_next_push_completes(repository, server):
    port, behind = free_port(), urlsplit(server[0]).port

    def relay(most):
        process = subprocess.Popen([sys.executable, "-m", "tests.relay", str(port), str(behind), str(most)], cwd=ROOT)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        return process

    folder = repository("s3://shelf/vanishing", endpointurl=f"http://127.0.0.1:{port}")
    (folder / "many").mkdir()
    for number in range(12):
        (folder / "many" / str(number)).write_bytes(os.urandom(100_000))
    sh(folder, "dvc", "add", "--quiet", "many")
    before = (folder / "many.dvc").read_text()
    process = relay(600_000)
    once = os.environ | {"AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run(["dvc", "push", "many"], cwd=folder, capture_output=True, text=True, env=once)
    assert process.wait() == 0
    assert done.returncode != 0
    assert "ERROR: failed to push data to the cloud" in done.stderr
    process = relay(0)
    try:
        sh(folder, "dvc", "push", "many")
        shutil.rmtree(folder / "many")
        shutil.rmtree(folder / ".dvc/cache")
        sh(folder, "dvc", "pull", "many")
    finally:
        process.kill()
        process.wait()
    assert content_md5(folder / "many") in before


@pytest.mark.parametrize(
    "changes",
    [{"url": "s3://missing/project"}, {"secret_access_key": SECRET}, {"endpointurl": "http://127.0.0.1:9"}],
    ids=lambda changes: next(iter(changes)),
)
def test_wrong_settings_end_in_a_line_without_the_secret(repository, server, changes):
    folder = repository(**changes)
    done = subprocess.run(
        ["dvc", "push", "--remote", "store", "quality"], cwd=folder, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode != 0
    assert "ERROR: " in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert server[2] not in done.stdout + done.stderr
