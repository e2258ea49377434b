"""Watermark timers that hold the results' watermark back until they fire."""

from __future__ import annotations

from typing import Any

from apache_beam.transforms.userstate import Timer
from apache_beam.utils.timestamp import Duration, Timestamp

from mixpanel_sink.stages.lane_state import LaneState


def hold_while_waiting(timer: Any, fires: Timestamp, state: LaneState, waited: bool) -> None:
    """Sets the timer that ends the waiting of what is in the state, or clears it.

    Args:
        timer, fires: as in `set_and_hold`.
        waited: whether something waited before, so that the timer may be set.
    """
    if state.waits():
        set_and_hold(timer, fires, state.how_much().earliest)
    elif waited:
        timer.clear()


def set_and_hold(timer: Any, fires: Timestamp, hold: int) -> None:
    """Sets a watermark timer, and holds the watermark of what it will emit at an earlier time.

    Results carry the timestamps of their records. Beam's model lets a timer name the time of its
    output, and Java's timers do; Python's `set` always takes the time at which the timer fires. By
    then the watermark has passed the results, and the next GroupByKey would drop them as late.

    Args:
        timer: what Beam gave for a `TimerParam`.
        fires: when; the end of the global window.
        hold: the earliest timestamp of what waits, in microseconds.
    """
    coder = getattr(timer, "_timer_coder_impl", None)
    if coder is None:  # the old runner, which the DirectRunner uses for streams, knows no holds
        timer.set(fires)
        return
    # Prism takes two settings of a timer for one if they fire at the same time, and would release
    # the hold of the first one twice. So each hold has a time of its own, some years before the
    # end of all time; a watermark that passes one passes all.
    fires = fires - Duration(micros=hold // 1000 % 2**40 * 1000)
    data = Timer(
        user_key=timer._key,
        dynamic_timer_tag="",
        windows=(timer._window,),
        clear_bit=False,
        fire_timestamp=fires,
        hold_timestamp=min(fires, Timestamp(micros=hold)),
        paneinfo=timer._paneinfo,
    )
    coder.encode_to_stream(data, timer._output_stream, True)
    timer._output_stream.maybe_flush()
