"""The quick benchmark: three inputs that arrive whole, and a word when something got slower."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys

import pyarrow as pa
import pytest

from benchmarks import paths, quick, sets


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    small = tuple(dataclasses.replace(each, rows=2500) for each in sets.ALL)
    monkeypatch.setattr(sets, "ALL", small)


def test_the_inputs_are_unlike_each_other() -> None:
    tables = {each.name: each.make(1000) for each in sets.ALL}
    assert [len(table.schema) for table in tables.values()] == [8, 13, 77]
    nulls = {name: sum(c.null_count for c in table.columns) for name, table in tables.items()}
    assert nulls["narrow"] == 0 < nulls["orders"] < nulls["wide"]
    assert any(pa.types.is_struct(kind) for kind in tables["wide"].schema.types)


def test_it_measures_and_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sets, "ALL", (sets.ALL[0], sets.ALL[-1]))
    recorded = tmp_path / "quick.json"
    arguments = ["quick", "--turns=1", f"--recorded={recorded}"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--record"])
    assert quick.main() == 0
    ratios = json.loads(recorded.read_text())
    assert set(ratios) == {"narrow", "wide"}
    assert all(ratio > 0 for each in ratios.values() for ratio in each.values())
    assert "| narrow | 2,500 |" in capsys.readouterr().out


def test_what_got_slower_is_named() -> None:
    before = {"orders": {"wall": 0.8, "cpu": 0.8}, "wide": {"wall": 0.5, "cpu": 0.5}}
    now = {"orders": {"wall": 0.6, "cpu": 0.75}, "wide": {"wall": 0.9, "cpu": 0.5}}
    assert quick.slower(now, before) == ["orders: wall 0.60, recorded 0.80"]
    assert quick.slower({"narrow": {"wall": 0.1, "cpu": 0.1}}, before) == []
