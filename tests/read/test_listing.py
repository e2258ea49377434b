"""A listing is a sequence of files, whatever their names hold, and listed once."""

from __future__ import annotations

import os
import pathlib

import pytest

from mixpanel_sink.jobs import sources
from mixpanel_sink.read import file_source
from mixpanel_sink.read.files import match_sizes
from mixpanel_sink.read.listing import File, Listing
from mixpanel_sink.settings.options import Settings

NAMES = ["b", "ä", "a/b", "a-b", os.fsdecode(b"\xff"), "日本", "a", ""]
FILES = [File(name, 2**40 + place, place / 4) for place, name in enumerate(NAMES)]


def test_it_is_a_sequence_of_the_same_files() -> None:
    made = Listing.of(FILES)
    assert list(made) == FILES
    assert [made[place] for place in range(-8, 8)] == FILES + FILES
    assert list(made[2:5]) == FILES[2:5]
    assert list(made[::-3]) == FILES[::-3]
    assert FILES[4] in made
    with pytest.raises(IndexError):
        made[8]
    assert not Listing.of([])
    assert list(Listing.of([]).in_order()) == []


def test_it_is_in_the_order_of_paths_over_all_of_its_parts() -> None:
    assert list(Listing.of(FILES).in_order()) == sorted(FILES)
    many = [File(f"{n * 7919 % 40_000:06}", n) for n in range(40_000)]
    assert list(Listing.of(many).in_order()) == sorted(many)
    backwards = Listing.of(sorted(many, reverse=True)[:20_000] + sorted(many)[:20_000])
    assert list(backwards.in_order()) == sorted(backwards)
    assert list(Listing.of(sorted(many)).in_order()) == sorted(many)


def test_files_on_disk_come_in_the_order_of_their_names_bytes(tmp_path: pathlib.Path) -> None:
    for name in ("\N{LATIN SMALL LETTER E WITH ACUTE}.csv", "a.csv", "b-1.csv", "B.csv"):
        (tmp_path / name).write_text("x")
    found = match_sizes(str(tmp_path))
    assert [os.fsencode(each.path.rpartition("/")[2]) for each in found] == [
        b"B.csv", b"a.csv", b"b-1.csv", b"\xc3\xa9.csv",
    ]  # fmt: skip
    assert {each.size for each in found} == {1}


def test_an_input_is_listed_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    asked = []

    def counted(patterns: list[str]) -> object:
        asked.append(patterns)
        return match_sizes(patterns)

    monkeypatch.setattr(file_source, "match_sizes", counted)
    source = sources.source_of(Settings(input=[str(tmp_path)]))
    assert len(source.files) == 1
    assert source.format.name == "CSV"
    assert len(asked) == 1
