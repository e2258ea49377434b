"""The comparison of other people's files: what it counts, and that it finds a difference."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.inspect.verify import expected
from tests.encode import corpus


def _folder(tmp_path: pathlib.Path) -> pathlib.Path:
    numbers = {"n": [1, 2, None], "x": [0.5, float("nan"), 2.0]}
    table = pa.table({**numbers, "l": [[1], [], None], "t": ["a", "", "b"]})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 is all of it")
    return tmp_path


def test_cells_refusals_and_files_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    found = dict(corpus.compare(_folder(tmp_path), 100))
    assert list(found) == ["b.parquet", "data/a.parquet"]
    whole = found["data/a.parquet"]
    assert (whole.cells, whole.differences, whole.unread) == (12, [], [])
    assert whole.refused == {"non_finite_number": 1}
    assert whole.other_reader >= 9
    (why,) = found["b.parquet"].unread
    assert "footer missing" in why


def test_a_difference_is_found(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = expected.exact_column
    monkeypatch.setattr(
        expected,
        "exact_column",
        lambda column: [v + 1 if type(v) is int and v < 9 else v for v in right(column)],
    )
    found = dict(corpus.compare(_folder(tmp_path), 100))
    assert len(found["data/a.parquet"].differences) == 2
