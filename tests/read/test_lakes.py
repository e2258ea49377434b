"""Delta and Iceberg tables, made by deltalake and pyiceberg, through the commands."""

from __future__ import annotations

import datetime
import pathlib
import pickle
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from mixpanel_sink.cli import main
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.registry import make_table
from mixpanel_sink.read.source import Columns

MAPPING = "event: {constant: Order}\ntime: at\ndistinct_id: id\ninsert_id: id\nexclude: [note]\n"


def orders(first: int, count: int) -> pa.Table:
    at = datetime.datetime(2024, 5, 6, tzinfo=datetime.timezone.utc)
    return pa.table(
        {
            "id": [f"o{n}" for n in range(first, first + count)],
            "at": pa.array([at] * count, pa.timestamp("us", "UTC")),
            "country": ["DE" if n % 2 else "AT" for n in range(first, first + count)],
            "note": ["not read"] * count,
            "items": [[{"sku": "a", "n": n}] for n in range(first, first + count)],
        }
    )


def delta(folder: pathlib.Path) -> str:
    """Two writes in partitions, of which some rows were deleted later: those are still in files."""
    write_deltalake(folder / "delta", orders(0, 60), partition_by=["country"])
    write_deltalake(folder / "delta", orders(60, 60), mode="append")
    DeltaTable(folder / "delta").delete("id = 'o3'")
    return f"delta:{folder}/delta"


def iceberg(folder: pathlib.Path) -> str:
    """The same as an Iceberg table."""
    catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/c.db", warehouse=f"file://{folder}/lake")
    catalog.create_namespace("s")
    table = catalog.create_table("s.orders", schema=orders(0, 1).schema)
    for first in (0, 60):
        table.append(orders(first, 60))
    table.delete("id == 'o3'")
    return f"iceberg:{folder}/lake/s/orders"


@pytest.mark.parametrize("make", [delta, iceberg])
def test_from_a_table_to_a_proof(
    make: Any, tmp_path: pathlib.Path, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    address = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    (tmp_path / "m.yaml").write_text(MAPPING)
    source = make_table([address], {})
    assert source.schema().names == ["id", "at", "country", "note", "items"]
    assert source.row_count() == 119
    only = [table.column_names for table in source.elements(Columns(("id", "country")))]
    assert {tuple(names) for names in only} == {("id", "country")}
    with_it = [address, "-m", "m.yaml", f"--endpoint={mixpanel.url}"]
    assert main(["import", *with_it, "--quota=none"]) == 0
    assert "119 read = 119 accepted + 0 failed" in capsys.readouterr().out
    found = {e["properties"]["$insert_id"]: e["properties"] for e in mixpanel.events(1000)}
    assert found.keys() == {f"o{n}" for n in range(120) if n != 3}
    assert found["o4"]["country"] == "AT"
    assert found["o4"]["items"] == [{"n": 4, "sku": "a"}]
    assert main(["verify", *with_it]) == 0


@pytest.mark.parametrize(("make", "more"), [(delta, orders(200, 5)), (iceberg, None)])
def test_what_is_read_is_the_version_that_was_looked_at(
    make: Any, more: pa.Table | None, tmp_path: pathlib.Path
) -> None:
    address = make(tmp_path)
    table = make_table([address], {}).format.look.table
    if more is not None:
        write_deltalake(tmp_path / "delta", more, mode="append")
    read = pickle.loads(pickle.dumps(table))
    rows = [len(t) for part in read.parts(None) for t in read.elements(part)]
    assert sum(rows) == 119


def test_a_key_in_the_address_is_not_a_column(tmp_path: pathlib.Path) -> None:
    """No worker would read it, and so `check` and `init` do not show it."""
    source = make_table([delta(tmp_path / "env=prod")], {})
    columns = Columns(("id", "env"), keys=True)
    assert "env" not in source.schema().names
    assert "env" not in source.sample(1).column_names
    for elements in (source.elements(columns), source.spread(10, columns)):
        assert {tuple(table.column_names) for table in elements} == {("id",)}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("delta:{}/nothing", "cannot be read as a table"),
        ("iceberg:{}/nothing", "is not an Iceberg table: no file matches"),
        ("iceberg:{}/v1.metadata.json", "cannot be read as a table"),
    ],
)
def test_what_is_no_table(address: str, message: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "v1.metadata.json").write_text("{}")
    with pytest.raises(InputError, match=message):
        make_table([address.format(tmp_path)], {}).schema()


def test_a_folder_of_delta_is_not_taken_for_its_files(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which hold rows that were deleted, and rows twice."""
    delta(tmp_path)
    assert main(["init", f"{tmp_path}/delta"]) == 2
    assert f"is a Delta table: write delta:{tmp_path}/delta" in capsys.readouterr().err


def test_options_of_bigquery_are_refused() -> None:
    with pytest.raises(SettingError, match="--query is for BigQuery"):
        make_table(["delta:orders"], {"query": "SELECT 1"})
