"""No rolling window of the server's ever holds more than the quota; nearly all of it is used."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.errors import SettingError
from mixpanel_sink.send.window import RollingWindow, Weight
from mixpanel_sink.settings.quota import PRESETS, Quota, Rate


def busiest(stamps: list[tuple[float, float]], seconds: float) -> float:
    """The most weight that any window of a server, open at its old end, ever holds."""
    stamps = sorted(stamps)
    most = total = 0.0
    first = 0
    for at, weight in stamps:
        total += weight
        while stamps[first][0] <= at - seconds:
            total -= stamps[first][1]
            first += 1
        most = max(most, total)
    return most


def simulate(
    rate: Rate,
    requests: int,
    latency: float,
    seed: int,
    in_flight: int = 16,
    weights: tuple[int, int] = (1, 1),
) -> tuple[list[tuple[float, float]], list[float]]:
    """Sends as fast as the window allows. Returns the server's stamps and the starts."""
    rng = random.Random(seed)
    window = RollingWindow(rate)
    now = 0.0
    running: list[tuple[float, int]] = []
    stamps, starts = [], []
    while len(starts) < requests:
        weight = rng.randint(*weights)
        while True:
            for end, one in sorted(r for r in running if r[0] <= now):
                window.end(end, one)
                running.remove((end, one))
            wait = float("inf") if len(running) >= in_flight else window.wait(now, weight)
            if wait <= 0:
                break
            now = min([now + wait, *(end for end, _ in running)])
        length = rng.uniform(0, latency)
        window.begin(weight)
        running.append((now + length, weight))
        stamps.append((now + rng.choice([0.0, 1.0, rng.random()]) * length, float(weight)))
        starts.append(now)
    return stamps, starts


@settings(max_examples=60, deadline=None)
@given(
    amount=st.integers(1, 60),
    seconds=st.sampled_from([0.5, 1.0, 2.0, 60.0, 3600.0]),
    latency=st.sampled_from([0.0, 0.001, 0.1, 0.9]),
    seed=st.integers(0, 10**6),
)
def test_no_window_of_the_server_ever_holds_more(
    amount: int, seconds: float, latency: float, seed: int
) -> None:
    rate = Rate(amount, seconds)
    stamps, _ = simulate(rate, amount * 4 + 3, latency * seconds, seed)
    assert busiest(stamps, seconds) <= amount


@pytest.mark.parametrize("amount", [257, 600, 1500])
def test_merged_entries_stay_within_the_quota_and_small(amount: int) -> None:
    rate = Rate(amount, 60)
    stamps, starts = simulate(rate, amount * 3, 0.3, seed=amount, in_flight=64)
    assert busiest(stamps, 60) <= amount
    window = RollingWindow(rate)
    for start in starts:
        window.add(start, 1)
    assert len(window.entries(starts[-1])) <= 2 * RollingWindow.EXACT_ENTRIES + 1


@pytest.mark.parametrize("amount", [20, 256, 600, 3000])
def test_steady_state_uses_98_percent(amount: int) -> None:
    rate = Rate(amount, 60)
    _, starts = simulate(rate, amount * 10, 0.05, seed=1, in_flight=64)
    whole = int(starts[-1] // 60) * 60.0
    sent = sum(1 for start in starts if start < whole)
    assert sent >= 0.98 * amount * whole / 60


def test_sixty_go_at_once_and_none_until_the_first_is_an_hour_old() -> None:
    window = RollingWindow(Quota().rates[0])
    for _ in range(60):
        assert window.wait(1000.0, 1) == 0
        window.begin(1)
        window.end(1000.0, 1)
    assert window.wait(1000.0, 1) >= 3600
    assert window.wait(4599.9, 1) > 0
    assert window.wait(4600.0 + 3600 * RollingWindow.DRIFT + 0.01, 1) == 0


def test_an_open_request_counts_until_it_is_over() -> None:
    window = RollingWindow(Rate(1, 10))
    window.begin(1)
    assert window.wait(50.0, 1) == float("inf")
    window.end(50.0, 1)
    assert window.wait(51.0, 1) == pytest.approx(9, abs=0.1)


def test_a_request_that_never_reached_the_server_does_not_count() -> None:
    window = RollingWindow(Rate(1, 10))
    window.begin(1)
    window.end(0.0, 1, counts=False)
    assert window.wait(0.0, 1) == 0
    assert window.used(0.0) == 0


@settings(max_examples=40, deadline=None)
@given(amount=st.integers(50, 5000), heaviest=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_rates_of_events_and_bytes_hold_for_uneven_requests(
    amount: int, heaviest: int, seed: int
) -> None:
    rate = Rate(amount, 10, "events")
    stamps, _ = simulate(rate, 200, 0.2, seed, weights=(1, heaviest))
    assert busiest(stamps, 10) <= amount


def test_a_request_heavier_than_the_quota_goes_alone() -> None:
    window = RollingWindow(Rate(100, 10, "events"))
    assert window.wait(0.0, 500) == 0
    window.begin(1)
    assert window.wait(0.0, 500) == float("inf")
    window.end(0.0, 1)
    assert window.wait(0.0, 500) == pytest.approx(10, abs=0.1)
    assert window.wait(10.1, 500) == 0


def test_a_clock_that_steps_back_frees_no_slot_early() -> None:
    window = RollingWindow(Rate(2, 10))
    window.add(100.0, 1)
    window.add(95.0, 1)  # the clock was set back by five seconds and more
    assert window.wait(95.0, 1) >= 15
    assert window.wait(109.9, 1) > 0


def test_entries_of_other_workers_count() -> None:
    window = RollingWindow(Rate(2, 10))
    window.add(4.0, 1)
    assert window.wait(5.0, 1, [[1.0, 1.0, 1]]) == pytest.approx(6, abs=0.1)
    assert window.wait(5.0, 1, [[1.0, 1.0, 0]]) == 0


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("60/hour", [Rate(60, 3600)]),
        (" 600 requests per minute ", [Rate(600, 60)]),
        ("10/2s", [Rate(10, 2)]),
        ("10/1.5s", [Rate(10, 1.5)]),
        ("5/2 hours", [Rate(5, 7200)]),
        ("1 request/sec", [Rate(1, 1)]),
        ("7/mins", [Rate(7, 60)]),
        ("1000/d", [Rate(1000, 86400)]),
        (
            "30000 events/second, 2 GB/minute",
            [Rate(30_000, 1, "events"), Rate(2_000_000_000, 60, "bytes")],
        ),
        (
            "1800000 events/minute, 2 GB/minute, 1 MB/event",
            list(Quota.reference().rates),
        ),
        ("1.5MB/s", [Rate(1_500_000, 1, "bytes")]),
        ("500 bytes/s", [Rate(500, 1, "bytes")]),
        ("page", [Rate(60, 3600)]),
        ("Reference", list(Quota.reference().rates)),
        ("none", []),
        ("OFF", []),
    ],
)
def test_forms(text: str, rates: list[Rate]) -> None:
    quota = Quota.parse(text)
    assert list(quota.rates) == rates
    assert Quota.parse(str(quota)) == quota


@pytest.mark.parametrize(
    "text",
    [
        *["", "60", "60/", "/hour", "sixty/hour", "60/fortnight", "10/100ms", "-1/s", "1/s,"],
        *["1 event/event", "1 MB/2 events", "1 TB/event"],
    ],
)
def test_what_cannot_be_read_is_shown_with_the_forms(text: str) -> None:
    with pytest.raises(SettingError, match=r"cannot be read. Write it as '60/hour'") as caught:
        Quota.parse(text)
    assert repr(text) in str(caught.value)


def test_the_reference_is_a_rolling_minute_and_events_of_a_megabyte() -> None:
    quota = Quota.parse("reference")
    assert quota == Quota.reference() == Quota.parse(str(quota))
    assert quota.rates == (Rate(1_800_000, 60, "events"), Rate(2_000_000_000, 60, "bytes"))
    assert quota.event_bytes == quota.share(1, 4).event_bytes == 1_000_000
    assert str(quota) == "1800000 events/minute, 2 GB/minute, 1 MB/event"
    assert Quota.parse("page").event_bytes is None
    assert Quota.parse("60/hour, 1500 bytes per event, 2 kB/event").event_bytes == 1500


def test_a_new_preset_needs_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "growth", Quota.parse("120/hour"))
    assert Quota.parse(" Growth ") == Quota((Rate(120, 3600),))
    with pytest.raises(SettingError, match="'off' or 'growth'"):
        Quota.parse("fast")


@pytest.mark.parametrize("text", ["0/hour", "0.5/s", "60/0s"])
def test_a_quota_that_lets_nothing_through(text: str) -> None:
    with pytest.raises(SettingError, match="must be positive"):
        Quota.parse(text)


def test_a_quota_of_something_else() -> None:
    with pytest.raises(SettingError, match="not 'cows'"):
        Rate(1, 1, "cows")


@pytest.mark.parametrize("lanes", [1, 2, 4, 7])
@pytest.mark.parametrize("quota", [Quota(), Quota.reference(), Quota.parse("61/hour, 8/s")])
def test_shares_add_up(quota: Quota, lanes: int) -> None:
    shares = [quota.share(lane, lanes) for lane in range(lanes)]
    for number, rate in enumerate(quota.rates):
        parts = [share.rates[number] for share in shares]
        assert sum(part.amount for part in parts) == rate.amount
        assert {(part.seconds, part.of) for part in parts} == {(rate.seconds, rate.of)}


def test_too_many_lanes() -> None:
    with pytest.raises(SettingError, match="at most 60 lanes"):
        Quota().share(0, 61)


def test_weight_and_most() -> None:
    weight = Weight(events=3, bytes=500)
    assert [weight.of(unit) for unit in ("requests", "events", "bytes")] == [1, 3, 500]
    assert Quota.parse("5 events/s, 100 events/minute").most("events") == 5
    assert Quota().most("events") is None


def test_the_oracle_itself_finds_a_violation() -> None:
    stamps = [(at, 1.0) for at in itertools.chain([0.0, 0.5, 9.99], [10.0])]
    assert busiest(stamps, 10) == 3
    assert busiest(stamps, 10.01) == 4
