"""Keys in a path, such as `day=2024-05-06`, are columns."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.partitions import partition_keys
from mixpanel_sink.read.source import Columns


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/in/day=2024-05-01/country=DE/a.parquet", {"day": "2024-05-01", "country": "DE"}),
        ("gs://b/day=__HIVE_DEFAULT_PARTITION__/a", {"day": None}),
        ("s3://b/city=S%C3%A3o%20Paulo/x%3Dy=1%2F2/a", {"city": "São Paulo", "x=y": "1/2"}),
        ("/in/day=/a.parquet", {"day": ""}),
        ("/in/=5/plain/k=v.parquet", {}),
        ("/in/q=a=b/f", {"q": "a=b"}),
    ],
)
def test_keys(path: str, keys: dict[str, str | None]) -> None:
    assert partition_keys(path) == keys


def test_which_are_read(tmp_path) -> None:
    folder = tmp_path / "day=1" / "n=7" / "null=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2], "n": [3, 4]}), folder / "f.parquet")
    (folder / "f.jsonl").write_text('{"a": 1}\n{"a": 2, "n": 4}\n')
    table = FileSource(str(folder / "f.parquet"))
    assert table.schema().names == ["a", "day", "n", "null"]
    row = {"a": 1, "n": "7", "day": "1", "null": None}  # the path's, as with Spark
    assert table.sample(1).to_pylist() == [row]
    for columns, want in (
        (Columns(keys=True), row),
        (Columns(("a", "day"), keys=True), {"a": 1, "day": "1"}),
        (Columns(None, frozenset({"n", "null"}), keys=True), {"a": 1, "day": "1"}),
        (Columns(), {"a": 1, "n": 3}),
    ):
        (element,) = table.elements(columns)
        assert element.to_pylist()[0] == want
    lines = FileSource(str(folder / "f.jsonl"))
    (element,) = lines.elements(Columns(keys=True))
    found = element.to_pylist() if isinstance(element, pa.Table) else element.records
    assert all((row["day"], row["n"], row["null"]) == ("1", "7", None) for row in found)
