"""What a run is to read: a listing against what was imported."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from mixpanel_sink.checkpoint.counts import path_key
from mixpanel_sink.checkpoint.manifest import FILES
from mixpanel_sink.checkpoint.plan import Plan, compare

MARKS = {"in/a": b"A", "in/b": b"B", "in/c": b"C"}


def imported(*files: tuple[str, int, float]) -> pa.Table:
    names = ("key", "path", "size", "changed", "mark")
    rows = [
        dict(zip(names, (path_key(path), path, *more, MARKS.get(path, b"?")), strict=True))
        for path, *more in files
    ]
    return pa.Table.from_pylist(rows, schema=FILES)


def planned(
    listing: list[tuple[str, int, float]], before: pa.Table, marks: dict[str, bytes], **more: Any
) -> Plan:
    return compare(listing, before, lambda: before, marks.__getitem__, **more)


BEFORE = imported(("in/a", 1, 1.0), ("in/b", 2, 1.0), ("in/c", 3, 0.0))


def test_new_files_are_told_from_known_ones_without_opening_any() -> None:
    plan = planned([("in/a", 1, 1.0), ("in/b", 2, 1.0), ("in/c", 3, 0.0), ("in/d", 1, 2.0)],
                   BEFORE, {})  # fmt: skip
    assert [each.path for each in plan.new] == ["in/d"]
    assert (plan.known, plan.changed, plan.moved, plan.gone) == (3, [], [], [])


def test_a_file_that_was_written_again_counts_by_its_content() -> None:
    marks = {"in/a": b"A", "in/b": b"other"}
    plan = planned([("in/a", 1, 5.0), ("in/b", 2, 5.0), ("in/c", 3, 0.0)], BEFORE, marks)
    assert [each.path for each in plan.changed] == ["in/b"]
    assert [each.path for each in plan.touched] == ["in/a"]
    assert (plan.known, list(plan.new)) == (2, [])


def test_a_file_of_another_size_or_that_cannot_be_opened_is_changed() -> None:
    plan = planned([("in/a", 9, 1.0), ("in/b", 2, 5.0), ("in/c", 3, 0.0)], BEFORE, {"in/a": b"x"})
    assert [each.path for each in plan.changed] == ["in/a", "in/b"]


def test_files_that_are_gone_are_named_if_they_belong_to_this_input() -> None:
    plan = planned([("in/a", 1, 1.0)], BEFORE, {}, meant=lambda path: path != "in/c")
    assert (plan.known, plan.gone) == (1, ["in/b"])


def test_a_renamed_folder_is_not_new() -> None:
    listing = [("archive/a", 1, 7.0), ("archive/b", 2, 7.0), ("in/d", 1, 7.0)]
    marks = {"archive/a": b"A", "archive/b": b"B", "in/d": b"D"}
    plan = planned(listing, BEFORE, marks)
    assert [(each.path, old) for each, old in plan.moved] == [
        ("archive/a", "in/a"), ("archive/b", "in/b"),
    ]  # fmt: skip
    assert [each.path for each in plan.new] == ["in/d"]
    assert plan.gone == ["in/c"]


def test_equal_names_and_contents_in_two_folders_are_two_files() -> None:
    plan = planned(
        [("in/a", 1, 1.0), ("in/b", 2, 1.0), ("in/c", 3, 0.0), ("other/a", 1, 1.0)],
        BEFORE, {"other/a": b"A"},
    )  # fmt: skip
    assert [each.path for each in plan.new] == ["other/a"]
    assert plan.moved == []


def test_one_gone_file_explains_one_new_one() -> None:
    before = imported(("in/a", 1, 1.0))
    plan = planned([("x/a", 1, 1.0), ("y/a", 1, 1.0)], before, {"x/a": b"A", "y/a": b"A"})
    assert len(plan.moved) == len(plan.new) == 1


def test_the_first_run() -> None:
    plan = planned([("in/a", 1, 1.0)], FILES.empty_table(), {})
    assert (len(plan.new), plan.known, plan.gone) == (1, 0, [])
