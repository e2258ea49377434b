"""Avro: its codecs, and how many records a file seems to have."""

from __future__ import annotations

import pathlib
from typing import Any

import fastavro
import pytest

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.avro import AvroRecords

SCHEMA = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}


def write(path: pathlib.Path, rows: int, codec: str) -> str:
    with path.open("wb") as file:
        records = ({"n": n} for n in range(rows))
        fastavro.writer(file, SCHEMA, records, codec, sync_interval=100)
    return str(path)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy", "zstandard", "lz4"])
def test_every_codec(tmp_path: pathlib.Path, codec: str) -> None:
    path = write(tmp_path / "a.avro", 1000, codec)
    assert AvroRecords().columns(path) == ["n"]
    assert [record["n"] for _, record in AvroRecords().rows(path)] == list(range(1000))  # type: ignore[index]
    assert AvroRecords().estimated_rows(path) == pytest.approx(1000, rel=0.5)


def test_a_codec_that_is_not_installed(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    path = write(tmp_path / "a.avro", 10, "snappy")

    class Reader:
        writer_schema = SCHEMA
        metadata = {"avro.codec": "snappy"}  # noqa: RUF012

        def __next__(self) -> Any:
            raise ValueError("snappy codec is supported but you need to install cramjam")

    monkeypatch.setattr(fastavro, "reader", lambda file: Reader())
    with pytest.raises(InputError, match=r"compressed with snappy.*Install fastavro\[codecs\]"):
        AvroRecords().columns(path)
