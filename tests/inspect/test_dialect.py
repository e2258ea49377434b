"""`init` tells how a CSV file is written, and the mapping that it proposes reads it."""

from __future__ import annotations

import gzip
import pathlib
from typing import Any

import pytest

from mixpanel_sink import EventMapping, preview
from mixpanel_sink.inspect.dialect import csv_settings
from mixpanel_sink.inspect.propose import propose_for
from mixpanel_sink.read.csv import CsvRows
from mixpanel_sink.read.file_source import FileSource

GERMAN = "name;user;zeit;betrag;plz\r\n" + "".join(
    f"Käufe;u{i};2024-01-0{i % 9 + 1} 10:00:00;{i}.234,50;0{1000 + i}\r\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,x\n2,y\n", {"delimiter": ",", "types": {"a": "integer"}}),
        ("a;b\n1,5;x\n2,0;y\n", {"delimiter": ";", "types": {"a": "number"}, "decimal": ","}),
        ("a\tb\n1.5\tx, y\n2\ty, z\n", {"delimiter": "\t", "types": {"a": "number"}}),
        ("a|b\n1|x\n", {"delimiter": "|", "types": {"a": "integer"}}),
        ("sep=;\na;b\n1;x\n", {"delimiter": ";", "types": {"a": "integer"}}),
        ('a;b\n"1,234.50";x\n"2,000.00";y\n',
         {"delimiter": ";", "types": {"a": "number"}, "thousands": ","}),
        ("a;b\n1.234,5;x\n", {"delimiter": ";", "types": {"a": "number"},
                              "decimal": ",", "thousands": "."}),
        ("a,b\n\\N,x\n2,NULL\n",
         {"delimiter": ",", "types": {"a": "integer"}, "nulls": ["\\N", "NULL"]}),
        ("a,b\nNA,NA\n2,x\n", {"delimiter": ",", "types": {"a": "integer"}, "nulls": ["NA"]}),
        ("a,b\nNA,x\nUS,y\n", {"delimiter": ","}),
        ("a,b\n007,x\n008,y\n", {"delimiter": ","}),
        ("a,b\n12345678901234567890,x\n", {"delimiter": ","}),
        ("a,b\ntrue,x\nFALSE,y\n", {"delimiter": ",", "types": {"a": "boolean"}}),
        ('a,b\n"x;y;z",1\n"p;q;r",2\n', {"delimiter": ",", "types": {"b": "integer"}}),
    ],
)  # fmt: skip
def test_what_is_told(tmp_path, content: str, expected: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_text(content, newline="")
    assert csv_settings(f"{tmp_path}/a.csv") == {"encoding": "utf-8", **expected}


@pytest.mark.parametrize(
    ("encoding", "told"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("cp1252", "windows-1252"), ("utf-16", "utf-16"),
     ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be")],
)  # fmt: skip
@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gzip"])
def test_from_init_to_events(tmp_path: pathlib.Path, encoding: str, told: str, pack: bool) -> None:
    """The mapping that is proposed for a German Excel export reads it whole."""
    content = GERMAN.encode(encoding)
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(content) if pack else content)
    proposal = propose_for(FileSource(str(path)))
    assert EventMapping.from_yaml(proposal.text) == proposal.mapping
    assert proposal.mapping.source == {
        "format": "csv",
        "delimiter": ";",
        "encoding": told,
        "types": {"betrag": "number"},
        "decimal": ",",
        "thousands": ".",
    }
    assert any("source: how the files are written" in guess for guess in proposal.guesses)
    found = preview(str(path), proposal.mapping)
    assert (found.looked_at.events, found.failures) == (29, ())
    first = found.examples[0]
    assert first["event"] == "Käufe"
    assert first["properties"]["betrag"] == 1234.5
    assert first["properties"]["plz"] == "01001"


def test_settings_are_those_of_the_reader(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1,5;NULL\n")
    settings = csv_settings(f"{tmp_path}/a.csv")
    rows = list(CsvRows(**settings).rows(f"{tmp_path}/a.csv"))
    assert rows == [(0, {"a": 1.5, "b": None})]
