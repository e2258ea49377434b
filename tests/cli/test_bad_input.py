"""Bad input ends in one sentence, or in failed records with file and row; the rest is looked at."""

from __future__ import annotations

import gzip
import pathlib
import tracemalloc
import zlib
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink.read import lines
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.source import rows_in
from mixpanel_sink.results import FailedRecord
from tests.cli.conftest import Call

MAPPING = "event: name\ntime: {column: at, unit: iso8601}\ndistinct_id: user\n"
HEAD = "name,at,user,amount\n"
LINE = '{"name": "Order", "at": "2025-05-01T10:00:00Z", "user": "u%s", "amount": %s}\n'


def row(user: int, amount: object = 1) -> str:
    return f"Order,2025-05-01T10:00:00Z,u{user},{amount}\n"


GOOD = HEAD + "".join(map(row, range(50)))
FAILS: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "other columns in the second file": (
        {"a.csv": GOOD, "b.csv": "name,when,who,amount\nOrder,2025-05-01,u1,1\n"},
        50,
        ["missing_column", "b.csv, row 0", "no column 'user'"],
    ),
    "a quote that never ends": (
        {"a.csv": HEAD + row(1) + 'Order,2025-05-01T10:00:00Z,"u2,3\n' + row(3)},
        1,
        ["line_unreadable", "a.csv, row 1", "The row in lines 3 to 4 cannot be read"],
    ),
    "a column of mixed types": (
        {"a.csv": HEAD + row(1) + row(2, "n/a") + row(3, 2.5)},
        2,
        ["line_unreadable", "a.csv, row 1", "Line 3 has something in amount that is not a number"],
    ),
    "mixed types in JSON": (
        {"a.jsonl": LINE % (1, 1) + LINE % (2, '"x"') + LINE % (3, "[1]") + "oops\n"},
        3,
        ["line_unreadable", "a.jsonl, row 3", "Line 4 is not JSON"],
    ),
}


@pytest.mark.parametrize("case", FAILS)
def test_failed_records_with_file_and_row(
    call: Call, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    given, events, said = FAILS[case]
    monkeypatch.chdir(tmp_path)
    for name, text in given.items():
        (tmp_path / name).write_text(text)
    types = "" if "a.jsonl" in given else "source: {format: csv, types: {amount: number}}\n"
    (tmp_path / "m.yaml").write_text(MAPPING + types)
    checked = call("check", *given, "-m", "m.yaml", "--all")
    assert checked.code == 0, checked.err
    assert f"{events}\n" in checked.out.partition("  events ")[2][:40]
    for part in said:
        assert part in checked.out


def packed(kind: str, text: bytes) -> bytes:
    if kind == "gzip":
        return gzip.compress(text)
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(text)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_what_was_packed_and_breaks_off(
    call: Call, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """Small ones show before anything is sent; of large ones what comes before the break lands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(MAPPING)
    small = GOOD if name == "a.csv" else LINE % (1, 1)
    (tmp_path / name).write_bytes(packed(kind, small.encode())[:-9])
    done = call("check", name, "-m", "m.yaml")
    assert done.code == 2
    assert f"Error: {tmp_path / name} cannot be read (" in done.err
    assert len(done.err.splitlines()) == 2  # the sentence, and its code
    rows = (row(i, i * 7919) if name == "a.csv" else LINE % (i, i * 7919) for i in range(40_000))
    large = (HEAD if name == "a.csv" else "") + "".join(rows)
    (tmp_path / name).write_bytes(packed(kind, large.encode())[:-9])
    done = call("check", name, "-m", "m.yaml", "--all")
    assert done.code == 1
    assert "files not readable" in done.out
    assert f"{tmp_path / name} cannot be read, or not to its end" in done.out


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_bomb(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """60 MB of one letter in a few kB: the file ends where a line is too long."""
    monkeypatch.setattr(lines, "MOST_LINE_BYTES", 8_000_000)
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    begin = (GOOD if name == "a.csv" else LINE % (1, 1)).encode()
    parts = [pack.compress(begin), *(pack.compress(b"a" * 1_000_000) for _ in range(60))]
    path = tmp_path / f"{name}.gz"
    path.write_bytes(b"".join([*parts, pack.flush()]))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    *good, failed = FileSource(str(path)).elements()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(failed, FailedRecord)
    assert failed.reason == "file_unreadable"
    assert "a line is longer than 8,000,000 bytes" in failed.message
    assert good
    assert peak < 60_000_000


def test_a_line_of_50_mb_costs_itself(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(LINE % (1, 1) + "x" * 50_000_000 + "\n" + LINE % (2, 2))
    rows = list(FileSource(str(path)).elements())
    (failed,) = (each for each in rows if isinstance(each, FailedRecord))
    assert (failed.reason, failed.row) == ("line_unreadable", 1)
    assert sum(rows_in(each) for each in rows if each is not failed) == 2


@pytest.mark.parametrize("words", [["nothing/"], ["nothing/*.csv"], ["a.csv", "nothing"]])
def test_what_is_not_there(call: Call, tmp_path, monkeypatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "m.yaml").write_text(MAPPING)
    done = call("check", *words, "-m", "m.yaml")
    assert done.code == 2
    assert "Error: No file matches" in done.err
    assert "MXS301" in done.err
    assert len(done.err.splitlines()) == 2  # the sentence, and its code


def test_what_may_not_be_read(call: Call, tmp_path, monkeypatch) -> None:
    """As the system says it to users who are not root."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "m.yaml").write_text(MAPPING)

    def refused(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("mixpanel_sink.read.files.open_file", refused)
    done = call("check", "a.csv", "-m", "m.yaml")
    assert done.code == 2
    assert "Permission denied" in done.err
    assert "a.csv" in done.err
    assert len(done.err.splitlines()) == 2  # the sentence, and its code


def test_a_folder_that_was_removed_meanwhile(
    call: Call, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for words in (("init", "a.jsonl"), ("status", "checkpoint")):
        done = call(*words)
        assert done.code == 2
        assert "The current folder was removed. Change to another one (cd)." in done.err
