"""A connection that fails is no fault of the file: a command says so in one sentence, and a worker
tries again."""

from __future__ import annotations

import errno
import io
import pathlib
import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
import requests
from apache_beam.io.aws.clients.s3.boto3_client import Client
from apache_beam.io.aws.clients.s3.messages import GetRequest, S3ClientError
from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import S3Options
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
)
from google.api_core.exceptions import BadGateway, Forbidden, ServiceUnavailable, TooManyRequests
from google.auth.exceptions import TransportError

from mixpanel_sink.read.connection import UnreachableError, is_passing
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.registry import FORMATS, make_format
from mixpanel_sink.read.source import Columns, guarded, rows_in, units_of
from mixpanel_sink.read.tables import TableSource
from tests.cli.conftest import Call
from tests.cli.conftest import call as call  # a fixture
from tests.cli.test_formats import content

SUFFIXES = {"excel": "xlsx", "arrow": "feather", "tsv": "csv"}


class Unplugged(LocalFileSystem):
    """A disk whose cable comes off after so many bytes."""

    whole: bytes = b""
    after = 0

    @classmethod
    def scheme(cls) -> str:
        return "unplugged"

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        yield FileMetadata(f"unplugged://disk/a.{dir_or_prefix.rpartition('.')[2]}", 1000)

    def exists(self, path: str) -> bool:
        return True

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(self.whole))

    def open(self, path: str, *_: Any, **__: Any) -> Any:
        return Cable(self.whole, self.after)


class Cable(io.BytesIO):
    def __init__(self, whole: bytes, after: int) -> None:
        super().__init__(whole)
        self.left = after

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.left -= len(found)
        if self.left < 0:
            raise ConnectionResetError("the cable is off")
        return found


@pytest.mark.parametrize("name", FORMATS)
def test_each_format(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = content(SUFFIXES.get(name, name))
    monkeypatch.setattr(Unplugged, "whole", whole)
    format = make_format(name, {"delimiter": ","} if name == "tsv" else {})
    path = f"unplugged://disk/a.{name}"
    monkeypatch.setattr(Unplugged, "after", 10 * len(whole))
    (unit, *_) = units_of(format, path)
    assert rows_in(next(iter(guarded(format, unit, Columns()))))
    said = []
    for after in (0, 100, len(whole) // 2):
        monkeypatch.setattr(Unplugged, "after", after)
        for ask in (
            lambda: FileSource(path, format).schema(),
            lambda: FileSource(path, format).sample(10_000),
            lambda: FileSource(path, format).row_count(),
            lambda: list(FileSource(path, format).elements()),
            lambda: list(FileSource(path, format).spread(10_000)),
        ):
            try:
                ask()
            except UnreachableError as error:
                said.append(str(error))
    assert len(said) > 5
    wanted = f"The connection to {path} failed (the cable is off). Check the network"
    assert [text for text in said if wanted not in text] == []
    monkeypatch.setattr(Unplugged, "after", 100)
    with pytest.raises(ConnectionResetError):  # for the worker's runner, which tries again
        list(guarded(format, unit, Columns()))


def test_each_command(call: Call, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = content("parquet")
    monkeypatch.setattr(Unplugged, "whole", whole)
    monkeypatch.setattr(Unplugged, "after", 100)
    monkeypatch.setenv("MIXPANEL_API_SECRET", "secret-0123456789")
    (tmp_path / "m.yaml").write_text("event: event_name\ntime: created_at\ndistinct_id: user_id\n")
    more = ("-m", tmp_path / "m.yaml")
    port = ("--endpoint", "http://127.0.0.1:9")
    for words in (
        ("init", "unplugged://disk/a.parquet", "-o", tmp_path / "new.yaml"),
        ("check", "unplugged://disk/a.parquet", *more),
        ("import", "unplugged://disk/a.parquet", *more, *port),
        ("verify", "unplugged://disk/a.parquet", *more, *port),
        ("init", "unplugged://disk/a.what", "-o", tmp_path / "new.yaml"),
    ):
        monkeypatch.setattr(Unplugged, "after", 0 if words[1].endswith(".what") else 100)
        done = call(*words)
        assert done.code == 2, words
        first, second = done.err.splitlines()
        assert first.startswith(f"Error: The connection to {words[1]} failed (the cable is off).")
        assert "MXS303" in second


class Away:
    """A table of a system that does not answer."""

    name = "away:table"
    kind = "Away"

    def look(self) -> Any:
        raise TimeoutError("no answer in 60 s")


def test_a_table() -> None:
    source = TableSource(Away())  # type: ignore[arg-type]
    for ask in (source.schema, source.row_count, lambda: source.sample(10)):
        with pytest.raises(UnreachableError, match=r"to away:table failed \(no answer in 60 s\)"):
            ask()


def azure_error(status: int) -> HttpResponseError:
    error = HttpResponseError("x")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (requests.ConnectionError("x"), True),
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ReadTimeoutError(endpoint_url="http://x"), True),
        (ServiceRequestError("x"), True),
        (TransportError("x"), True),
        (ServiceUnavailable("x"), True),
        (BeamIOError("x", {"a": ServiceRequestError("x")}), True),
        (BeamIOError("x", {"a": FileNotFoundError("x")}), False),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
        (TooManyRequests("x"), True),
        (BadGateway("x"), True),
        (azure_error(503), True),
        (azure_error(403), False),
        (socket.gaierror(-3, "x"), True),
        (OSError(errno.EHOSTUNREACH, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (FileNotFoundError("x"), False),
        (ResourceNotFoundError("x"), False),
        (Forbidden("x"), False),
        (pa.ArrowInvalid("x"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_errors_of_each_clouds_client(error: Exception, passing: bool) -> None:
    assert is_passing(error) is passing


def test_what_beam_makes_of_amazons_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam's client of S3 keeps an error's text, and its status if it is an answer."""
    errors: list[Exception] = [EndpointConnectionError(endpoint_url="http://x")]
    for status in (503, 429, 404, 403):
        answer: Any = {"ResponseMetadata": {"HTTPStatusCode": status}}
        errors.append(ClientError(answer, "GetObject"))
    monkeypatch.setattr("apache_beam.utils.retry.Clock.sleep", lambda *_: None)
    client = Client(
        S3Options(s3_access_key_id="a", s3_secret_access_key="b", s3_region_name="eu-west-1")
    )
    found = []
    for error in errors:
        monkeypatch.setattr(client.client, "get_object", Mock(side_effect=error))
        with pytest.raises(S3ClientError) as raised:
            client.get_range(GetRequest("bucket", "name"), 0, 10)
        found.append(is_passing(raised.value))
    assert found == [True, True, True, False, False]
