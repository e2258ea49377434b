"""What is remembered of a file's rows, so that none is left out that nobody has seen."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.checkpoint.since import (
    Before,
    Seen,
    before_of,
    has_others,
    mark_of,
    move,
    name_of,
    rename,
    together,
)

VALUES = st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=60)


def seen(values: list[int], step: int = 10, cutoff: int | None = None, now: int | None = None):
    return Seen.of("f", "INT64", np.array(values, np.int64), step, cutoff, now)


@given(VALUES, st.integers(1, 1000), st.integers(1, 5), st.one_of(st.none(), st.integers(0, 99)))
def test_parts_add_up(values: list[int], step: int, parts: int, now: int | None) -> None:
    cuts = [values[at::parts] for at in range(parts) if values[at::parts]]
    whole = seen(values, step, 3, now)
    merged = functools.reduce(Seen.with_, [seen(cut, step, 3, now) for cut in cuts])
    assert merged == whole
    assert together([tuple(seen(cut, step, 3, now)) for cut in cuts]) == whole
    mark = whole.mark(step)
    bounded = [value if now is None else min(value, now) for value in values]
    assert max(bounded) - 2 * step < mark.cutoff <= max(bounded) - step
    assert mark.rows == sum(value < mark.cutoff for value in values)


@given(VALUES, st.lists(st.integers(-(10**6), 2 * 10**6), max_size=9), st.integers(1, 1000))
def test_rows_that_nobody_has_seen_are_noticed(
    values: list[int], more: list[int], step: int
) -> None:
    mark = seen(values, step).mark(step)
    after = seen([*values, *more], step, mark.cutoff)
    assert has_others(mark, after) is any(value < mark.cutoff for value in more)


def test_one_came_and_another_went() -> None:
    values = [*range(100), 500]
    mark = seen(values).mark(10)
    assert not has_others(mark, seen(values[::-1], cutoff=mark.cutoff))
    assert has_others(mark, seen([*range(1, 100), 500, 3], cutoff=mark.cutoff))
    # ... with the same sum of values.
    assert has_others(mark, seen([0, 0, 3, *range(3, 100), 500], cutoff=mark.cutoff))
    assert has_others(mark, None)
    assert not has_others(None, seen(values))


def test_watermarks_move() -> None:
    watermarks = {"bq://a at": {"value": ["DATE", 7]}}
    text = seen([5000])._replace(kind="TEXT", path="g")
    move(watermarks, "at", 10, {"f": seen([5]), "g": text}, [], {}, "r1")
    assert watermarks["g at"]["value"] == ("TIMESTAMP", 5_000_000)
    assert mark_of(watermarks, "f", "at") == seen([5]).mark(10)
    assert mark_of(watermarks, "f", "on") is None
    assert mark_of({"f at": {"value": ["DATE", 7]}}, "f", "at") is None
    move(watermarks, "at", 10, {}, ["f"], {}, "r2")
    assert sorted(watermarks) == ["bq://a at", "g at"]


def test_what_earlier_runs_have_imported_adds_up() -> None:
    watermarks: dict[str, Any] = {}
    move(watermarks, "at", 10, {"f": seen(list(range(100)))}, [], {"f": ("r0", 9)}, "r1")
    assert before_of(watermarks) == {"f": Before("f", "r1")}, "all of it was read"
    move(watermarks, "at", 10, {"f": seen(list(range(120)))}, [], {"f": ("r1", 2)}, "r2")
    assert before_of(watermarks) == {"f": Before("f", "r2", 80, 2)}, "those below the mark were not"
    move(watermarks, "at", 10, {"f": seen(list(range(130)))}, [], {"f": ("r2", 1)}, "r3")
    assert before_of(watermarks) == {"f": Before("f", "r3", 100, 3)}
    move(watermarks, "at", 10, {"f": seen(list(range(130)))}, [], {"f": ("r3", 500)}, "r4")
    assert before_of(watermarks)["f"].failed == 110, "no more than there are"
    assert before_of({"bq://a at": {"value": ["DATE", 7]}}) == {}


def test_what_a_run_read_as_a_whole_counts_once() -> None:
    """Without --since, between two runs with it: its failed records are all there are."""
    watermarks: dict[str, Any] = {}
    move(watermarks, "at", 10, {"f": seen(list(range(100)))}, [], {}, "r1")
    move(watermarks, "at", 10, {"f": seen(list(range(120)))}, [], {"f": ("r1", 7)}, "r2")
    assert before_of(watermarks)["f"].failed == 7
    move(watermarks, "at", 10, {"f": seen(list(range(140)))}, [], {"f": ("whole", 8)}, "r4")
    assert before_of(watermarks) == {"f": Before("f", "r4", 100, 8)}


def test_a_file_keeps_its_watermark_where_it_moves() -> None:
    watermarks: dict[str, Any] = {"bq://a at": {"value": ["DATE", 7]}}
    same = {path: seen(list(range(100)))._replace(path=path) for path in ("f", "f b", "g")}
    move(watermarks, "c d", 10, same, [], {}, "r1")
    mark = watermarks["f c d"]["mark"]
    rename(watermarks, [("f", "g"), ("g", "f")])
    assert sorted(watermarks) == ["bq://a at", "f b c d", "f c d", "g c d"]
    rename(watermarks, [("f", "h i")])
    assert before_of(watermarks).keys() == {"f b", "g", "h i"}
    assert watermarks[name_of("h i", "c d")]["mark"] == mark
