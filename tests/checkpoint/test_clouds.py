"""Folders on gs://, s3:// and az://: of two that write the same file, one finds out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.clouds import _Amazon, _Azure, _Google, _Other
from mixpanel_sink.checkpoint.folder import check_reachable, open_folder
from mixpanel_sink.checkpoint.stored import ABSENT, Changed, Folder
from mixpanel_sink.errors import CheckpointError
from tests.cloud_storage import emulated_bucket, emulated_container, moto_bucket


@pytest.fixture(scope="module", params=["gs", "s3", "az"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket or container, and a server that has it."""
    servers: dict[str, Any] = {
        "gs": lambda: emulated_bucket(tmp_path_factory.mktemp("gs"), "folders"),
        "s3": lambda: moto_bucket("folders"),
        "az": lambda: emulated_container("folders"),
    }
    with servers[request.param]():
        yield f"{request.param}://folders"


def test_the_kind_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")
    kinds = {"gs": _Google, "s3": _Amazon, "az": _Azure, "hdfs": _Other}
    for scheme, kind in kinds.items():
        assert type(open_folder(f"{scheme}://bucket/x/")) is kind


def test_a_connection_to_the_service(root: str) -> None:
    folder = open_folder(f"{root}/x")
    assert folder.url.startswith("http://")
    check_reachable(folder)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    gone = Mock(path="gs://b/x", url=f"http://127.0.0.1:{port}")
    said = rf"gs://b/x could not be reached: .* 127\.0\.0\.1:{port} \(Connection refused\)"
    with pytest.raises(CheckpointError, match=said):
        check_reachable(gone)


def test_files(root: str) -> None:
    folder = open_folder(f"{root}/files/")
    assert folder.names("x") == []
    assert folder.read("x-1") is None
    folder.write("x-1", b"one")
    folder.write("x-1", b"\x00two")
    folder.append("y", b"")
    open_folder(f"{root}/files-of-another").write("x-2", b"")
    assert folder.read("x-1") == b"\x00two"
    assert folder.read("y") == b""
    assert folder.names("x") == ["x-1"]
    folder.remove("x-1")
    folder.remove("x-1")
    assert folder.names("") == ["y"]
    with pytest.raises(FileNotFoundError):
        folder.open("x-1")
    assert open_folder(root).names("files/") == ["files/y"]


def test_of_two_that_write_one_finds_out(root: str) -> None:
    one_of_two(open_folder(f"{root}/one-of-two"))


def one_of_two(folder: Folder) -> None:
    first = folder.write("x", b"one", ABSENT)
    with pytest.raises(Changed):
        folder.write("x", b"two", ABSENT)
    assert folder.write("x", b"one", ABSENT) == first  # the retry of a write that had arrived
    second = folder.write("x", b"two", first)
    with pytest.raises(Changed):
        folder.write("x", b"three", first)
    assert folder.stored("x") == (b"two", second)
    folder.remove("x", first)
    folder.remove("x", ABSENT)
    assert folder.read("x") == b"two"
    folder.remove("x", second)
    folder.remove("x", second)
    assert folder.stored("x") is None
    with pytest.raises(Changed):
        folder.write("x", b"three", second)
    assert folder.names("") == []


def test_a_lease(root: str) -> None:
    folder = open_folder(f"{root}/lease")
    lease.acquire(folder, "first")
    with pytest.raises(CheckpointError, match="is in use"):
        lease.acquire(folder, "second")
    before = folder.stored(lease.NAME)
    assert before is not None
    renewed = lease.renew(folder, "first")
    assert renewed is not None
    assert (renewed.token, renewed.count) == ("first", 1)
    folder.remove(lease.NAME, before.version)  # as a worker gives it back that had read it before
    held = folder.stored(lease.NAME)
    assert held is not None
    lease.release(folder, "first")
    with pytest.raises(Changed):  # as a worker renews it that had read it before
        folder.write(lease.NAME, held.data, held.version)
    assert folder.stored(lease.NAME) is None
    lease.acquire(folder, "second")


@pytest.fixture
def answers() -> Iterator[dict[str, Any]]:
    """What S3 answers to requests with a condition: status and code, once there are some."""
    answer: dict[str, Any] = {}

    def answered(request: Any, **_: Any) -> AWSResponse | None:
        if not answer or not {"If-Match", "If-None-Match"} & set(request.headers):
            return None
        body = f"<Error><Code>{answer['code']}</Code></Error>".encode()
        response = AWSResponse(request.url, answer["status"], {}, None)
        response._content = body
        return response

    with moto_bucket("no-conditions"):
        client = open_folder("s3://no-conditions/x")._client  # type: ignore[attr-defined]
        client.meta.events.register("before-send.s3", answered)
        yield answer
        client.meta.events.unregister("before-send.s3", answered)


def test_a_store_with_the_api_of_s3_but_no_conditions(answers: dict[str, Any]) -> None:
    """It is looked at just before it is written."""
    answers.update(status=501, code="NotImplemented")
    one_of_two(open_folder("s3://no-conditions/without"))
    answers.update(status=403, code="AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        open_folder("s3://no-conditions/denied").write("x", b"one", ABSENT)
