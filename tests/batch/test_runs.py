"""Runs: the origin of the n-th event, however events are cut, chosen and joined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.batch.origin import TableOrigin, runs_from
from mixpanel_sink.batch.runs import Run, join_runs, rows_of, singles, take_runs

RUNS = st.lists(
    st.builds(
        Run,
        count=st.integers(1, 5),
        timestamp=st.sampled_from([0, 1]),
        windows=st.just(("",)),
        file=st.sampled_from(["", "a"]),
        row=st.sampled_from([-1, 0, 7]),
    ),
    min_size=1,
    max_size=6,
)


@given(RUNS, st.data())
def test_chosen_events_keep_their_origins(runs: list[Run], data: st.DataObject) -> None:
    each = list(singles(runs))
    numbers = data.draw(st.lists(st.integers(0, len(each) - 1), max_size=20))
    taken = take_runs(runs, numbers)
    assert list(singles(taken)) == [each[number] for number in numbers]
    assert list(singles(join_runs(taken))) == [each[number] for number in numbers]


def test_neighbours_stay_together() -> None:
    runs = [Run(10, 0, ("",), "a", 5)]
    assert take_runs(runs, [2, 3, 4, 7]) == [Run(3, 0, ("",), "a", 7), Run(1, 0, ("",), "a", 12)]
    assert take_runs(runs, []) == []


@pytest.mark.parametrize("number", [-1, 10])
def test_an_event_that_is_not_there(number: int) -> None:
    with pytest.raises(IndexError, match="10 events"):
        take_runs([Run(10, 0, ("",))], [0, number])


def test_rows_in_the_file() -> None:
    runs = [Run(2, 0, ("",), "a", 5), Run(1, 0, ("",), "a", 9)]
    assert rows_of(runs).tolist() == [5, 6, 9]


def test_offsets_from_a_place() -> None:
    place, whole = TableOrigin("a", "k", 100), Run(4, 3, ("w",))
    assert runs_from(None, None, whole) == [whole]
    assert runs_from(place, None, whole) == [Run(4, 3, ("w",), "a", 100)]
    assert runs_from(place, [0, 1, 5, 6], whole) == [
        Run(2, 3, ("w",), "a", 100),
        Run(2, 3, ("w",), "a", 105),
    ]
