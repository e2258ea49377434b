"""Arrow files, streams and Feather: tables with file and row, or one sentence."""

from __future__ import annotations

import gzip
import pathlib

import pyarrow as pa
import pyarrow.feather
import pytest

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.source import Columns, Element
from mixpanel_sink.results import FailedRecord

ROWS = 120_000
TABLE = pa.table({"n": range(ROWS), "e": pa.array(["x", "y"] * (ROWS // 2)).dictionary_encode()})


def write(path: pathlib.Path, kind: str) -> str:
    make = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}.get(kind)
    if kind == "feather":
        pyarrow.feather.write_feather(TABLE, str(path), chunksize=7000)
    elif make is not None:
        with make(str(path), TABLE.schema) as writer:
            writer.write_table(TABLE, 7000)
    return str(path)


def elements(path: str, columns: Columns = Columns()) -> list[Element]:  # noqa: B008
    return list(FileSource(path).elements(columns))


@pytest.mark.parametrize("kind", ["file", "stream", "feather"])
def test_tables_with_their_rows(tmp_path: pathlib.Path, kind: str) -> None:
    path = write(tmp_path / f"no-suffix-{kind}", kind)  # the content tells
    read = elements(path, Columns(("n",)))
    assert [(len(t), TableOrigin.of(t).first_row) for t in read] == [
        (50_000, 0), (6_000, 50_000), (50_000, 56_000), (6_000, 106_000), (8_000, 112_000)
    ]  # fmt: skip
    assert pa.concat_tables(read)["n"].to_pylist() == list(range(ROWS))
    assert all(table.schema.names == ["n"] for table in read)
    source = FileSource(path)
    assert source.schema().equals(TABLE.schema)
    assert source.sample(7001).num_rows == 7001
    assert abs(source.estimated_rows() - ROWS) < 7000


def test_packed_and_empty(tmp_path: pathlib.Path) -> None:
    path = pathlib.Path(write(tmp_path / "a.arrow", "file"))
    packed = tmp_path / "b.arrow.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    assert sum(map(len, elements(str(packed)))) == ROWS
    with pa.ipc.new_file(str(tmp_path / "c.arrow"), TABLE.schema):
        pass
    assert elements(str(tmp_path / "c.arrow")) == []
    assert FileSource(str(tmp_path / "c.arrow")).estimated_rows() == 0


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_what_breaks_off(tmp_path: pathlib.Path, kind: str) -> None:
    path = pathlib.Path(write(tmp_path / "a.arrow", kind))
    path.write_bytes(path.read_bytes()[:-50_000])
    failed = elements(str(path))[-1]
    assert isinstance(failed, FailedRecord)
    assert failed.reason == "file_unreadable"
    if kind == "file":  # its end says where its parts are
        with pytest.raises(InputError, match="cannot be read as Arrow"):
            FileSource(str(path)).schema()
    else:
        good = [each for each in elements(str(path)) if isinstance(each, pa.Table)]
        assert sum(map(len, good)) > 50_000


def test_feather_of_before_2020(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.feather"
    path.write_bytes(b"FEA1" + b"\0" * 100 + b"FEA1")
    with pytest.raises(InputError, match="Feather version 1"):
        FileSource(str(path)).schema()
