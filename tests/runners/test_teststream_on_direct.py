"""Why grouped results are lost with TestStream on the DirectRunner: it is so without the sink.

A stateful DoFn of the plainest kind emits from a timer, as Send does, on time and in its element's
window. On the DirectRunner's own streams a GroupByKey drops it, since a timer, whichever timestamp
it has, does not hold the watermark there; on Prism it arrives. If this test fails with a newer
Beam, docs/runners.md can say something better.
"""

# ruff: noqa: B008  (Beam declares state and timers as argument defaults)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.testing.test_stream import TestStream as Script
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import FixedWindows, IntervalWindow, TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from tests.runners.matrix import Runner

WINDOW = IntervalWindow(0, 60)


def emitted(number: int) -> WindowedValue:
    """At the very end of its window, which is the least late that it can be."""
    return WindowedValue(("key", number), WINDOW.max_timestamp(), (WINDOW,))


class FromTimer(beam.DoFn):
    """Keeps an element until a watermark timer, long before the element's window ends."""

    KEPT = BagStateSpec("kept", VarIntCoder())
    TIMER = TimerSpec("plain", TimeDomain.WATERMARK)

    def process(
        self, element: Any, kept: Any = beam.DoFn.StateParam(KEPT),
        timer: Any = beam.DoFn.TimerParam(TIMER),
    ) -> None:  # fmt: skip
        kept.add(element[1])
        timer.set(Timestamp(50))

    @on_timer(TIMER)
    def fire(self, kept: Any = beam.DoFn.StateParam(KEPT)) -> Iterator[Any]:
        for number in kept.read():
            yield emitted(number)


class AtOnce(beam.DoFn):
    """The control: the same output without a timer."""

    def process(self, element: Any) -> Iterator[Any]:
        yield emitted(element[1])


@pytest.mark.parametrize(
    ("runner", "fn", "grouped"),
    [("direct", AtOnce(), [5]), ("direct", FromTimer(), []), ("prism", FromTimer(), [5])],
    indirect=["runner"],
    ids=["at once", "from a timer", "from a timer on Prism"],
)
def test_what_a_timer_emits_on_time(runner: Runner, fn: beam.DoFn, grouped: list[int]) -> None:
    script = Script().add_elements([TimestampedValue(("key", 5), 5)])
    script.advance_watermark_to(100).advance_watermark_to_infinity()

    def build(pipeline: Any) -> None:
        keyed = pipeline | script | beam.MapTuple(same).with_output_types(tuple[str, int])
        emitted = keyed | beam.ParDo(fn)
        emitted._windowing = Windowing(FixedWindows(60))
        runner.keep("emitted", emitted)
        runner.keep("grouped", emitted | beam.GroupByKey() | beam.MapTuple(listed))

    runner.build_and_run(build, streaming=True)
    assert [out.value[1] for out in runner.read("emitted")] == [5]
    assert [out.value[1] for out in runner.read("grouped")] == [[n] for n in grouped]


def same(key: str, number: int) -> tuple[str, int]:
    return key, number


def listed(key: str, numbers: Any) -> tuple[str, list[int]]:
    return key, list(numbers)
