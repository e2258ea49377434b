"""Results return to their records' windows and timestamps."""

from __future__ import annotations

from typing import Any

import pytest
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindow,
    GlobalWindows,
    IntervalWindow,
    Sessions,
    SlidingWindows,
)

from mixpanel_sink.batch.runs import Run
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.windowing import WindowCodec


@pytest.mark.parametrize(
    "windowfn", [FixedWindows(60), SlidingWindows(60, 20), Sessions(60), GlobalWindows()]
)
def test_windows_come_back(windowfn: Any) -> None:
    codec = WindowCodec(windowfn.get_window_coder())
    windows = [IntervalWindow(0, 60), IntervalWindow(-120, -60)]
    if isinstance(windowfn, GlobalWindows):
        windows = [GlobalWindow()]
    texts = codec.encode(windows)
    assert all(isinstance(text, str) for text in texts)
    # another worker decodes them
    assert WindowCodec(windowfn.get_window_coder()).decode(texts) == tuple(windows)


def test_a_result_gets_its_records_time_and_windows() -> None:
    codec = WindowCodec(FixedWindows(60).get_window_coder())
    window = IntervalWindow(0, 60)
    failed = FailedRecord("time_null", "")
    value = codec.restore(failed, Run(1, 1_500_000, codec.encode([window])))
    assert (value.value, value.windows) == (failed, (window,))
    assert value.timestamp.micros == 1_500_000


def test_a_result_knows_in_how_many_windows_it_is() -> None:
    windowfn = SlidingWindows(60, 20)
    codec = WindowCodec(windowfn.get_window_coder())
    windows = [IntervalWindow(start, start + 60) for start in (0, 20, 40)]
    value = codec.restore(FailedRecord("time_null", ""), Run(1, 45_000_000, codec.encode(windows)))
    assert value.value.windows == 3
    assert value.windows == tuple(windows)
    # A failed record that is sent again, and fails again, is in the windows of now.
    again = codec.restore(value.value, Run(1, 45_000_000, codec.encode(windows[:1])))
    assert again.value.windows == 1


def test_many_windows_do_not_fill_the_memory() -> None:
    codec = WindowCodec(FixedWindows(60).get_window_coder())
    for start in range(25_000):
        codec.decode(codec.encode([IntervalWindow(start, start + 1)]))
    assert max(len(codec._texts), len(codec._windows)) <= 10_002
