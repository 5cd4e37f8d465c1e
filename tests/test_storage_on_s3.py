"""`bind-an-audio storage-check` against an S3 server on loopback: right settings work, wrong ones get one line."""

from __future__ import annotations

import argparse
import urllib.request

import pytest

from stages.commands import storage_check

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
def check(server, tmp_path, monkeypatch):
    """Runs the command with the server's own settings and changes to them (None: unset)."""
    from dvc.repo import Repo

    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)
    address, key, secret = server
    usual = {
        "url": "s3://shelf/project",
        "endpointurl": address,
        "access_key_id": key,
        "secret_access_key": secret,
        "region": "us-east-1",
    }

    def run(**changes):
        settings = {name: value for name, value in (usual | changes).items() if value is not None}
        with Repo.init(".", no_scm=True) as repo, repo.config.edit("local") as config:
            config["remote"] = {"store": settings}
            config["core"] = {"remote": "store"}
        storage_check.main(argparse.Namespace(remote=None))

    return run


def test_a_bucket_keeps_what_is_pushed(check, server, capsys):
    import boto3

    check()
    assert "remote store (s3://shelf/project): pushed, cache wiped, pulled, 3 hashes equal" in capsys.readouterr().out
    address, key, secret = server
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1"
    )
    names = [item["Key"] for item in client.list_objects_v2(Bucket="shelf")["Contents"]]
    assert len(names) == 4  # three files and the folder's list
    assert all(name.startswith("project/files/md5/") for name in names)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": "s3://missing/project"}, "bucket"),
        ({"secret_access_key": SECRET}, "Forbidden"),
        ({"access_key_id": "AKIANOBODY", "secret_access_key": SECRET}, "access key|AWS Access Key|Forbidden"),
        ({"access_key_id": None, "secret_access_key": None}, "credentials"),
        ({"endpointurl": "http://127.0.0.1:9", "secret_access_key": SECRET}, "Could not connect"),
    ],
)
def test_wrong_settings_get_one_line_without_the_secret(check, server, capfd, changes, reason):
    with pytest.raises(ValueError, match=rf"remote store \(s3://.*\): push failed: .*(?:{reason})") as caught:
        check(**changes)
    line = str(caught.value)
    assert "\n" not in line
    assert "dvc remote modify store" in line
    shown = line + "".join(capfd.readouterr())
    assert SECRET not in shown
    assert server[2] not in shown


def test_a_secret_in_an_address_or_an_error_is_not_shown():
    settings = {"url": "webdavs://me:hidden@host/path", "password": "planted", "port": 22}
    text = storage_check.scrubbed("webdavs://me:hidden@host/path\nrefused planted at 22", settings)
    assert text == "webdavs://***@host/path refused *** at 22"
