"""The rolling window, against a brute-force oracle and over HTTP."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.emulator.quota import Quota, RollingWindow, busiest_window, retry_after


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("60/hour", Quota(60, 3600)),
        ("600/minute", Quota(600, 60)),
        ("10/second", Quota(10, 1)),
        ("5/30s", Quota(5, 30)),
        ("5/2m", Quota(5, 120)),
        (" 7 / Seconds ", Quota(7, 1)),
        ("none", None),
        ("off", None),
    ],
)
def test_parse(text: str, quota: Quota | None) -> None:
    assert Quota.parse(text) == quota


@pytest.mark.parametrize("text", ["", "60", "60/", "/hour", "0/hour", "5/0s", "-1/hour", "5/day"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        Quota.parse(text)


def test_text_is_read_back() -> None:
    for quota in (Quota(60, 3600), Quota(1, 1), Quota(5, 30), Quota(5, 0.5)):
        assert Quota.parse(str(quota)) == quota


# Eighths are exact in binary, so the oracle's boundary is the window's.
_gaps = st.lists(st.integers(0, 24).map(lambda n: n / 8), max_size=60)


@given(gaps=_gaps, limit=st.integers(1, 5), seconds=st.integers(1, 40).map(lambda n: n / 8))
def test_window_against_oracle(gaps: list[float], limit: int, seconds: float) -> None:
    quota, window = Quota(limit, seconds), RollingWindow()
    admitted: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        inside = [stamp for stamp in admitted if now - seconds < stamp <= now]
        wait = window.admit(now, quota)
        if len(inside) < limit:
            assert wait is None
            admitted.append(now)
        else:
            assert wait is not None
            free_at = now + wait
            then = [stamp for stamp in admitted if free_at - seconds < stamp]
            just_before = [stamp for stamp in admitted if free_at - 1 / 16 - seconds < stamp]
            assert len(then) < limit <= len(just_before)
    most = max((sum(s - seconds < t <= s for t in admitted) for s in admitted), default=0)
    assert busiest_window(admitted, seconds) == most <= limit


def test_lowered_quota_waits_for_several_to_leave() -> None:
    window = RollingWindow()
    for stamp in (0.0, 1.0, 2.0, 3.0):
        assert window.admit(stamp, Quota(4, 10)) is None
    assert window.admit(4.0, Quota(2, 10)) == 8.0
    assert window.admit(12.0, Quota(2, 10)) is None


def test_late_stamps_are_moved_up() -> None:
    window = RollingWindow()
    assert window.admit(5.0, Quota(1, 1)) is None
    assert window.admit(4.0, Quota(1, 1)) == 1.0


def test_retry_after_rounds_up() -> None:
    assert [retry_after(s) for s in (0.001, 1.0, 1.001, 59.9)] == [1, 1, 2, 60]


def test_over_quota_is_429_and_costs_nothing(api) -> None:
    api.emulator.settings(quota="3/hour")
    assert [api.send([api.event()]).status_code for _ in range(3)] == [200] * 3
    for _ in range(5):
        answer = api.send([api.event()])
        assert answer.status_code == 429
        assert 3500 < int(answer.headers["Retry-After"]) <= 3600
        assert "rate limit" in answer.json()["error"]
    stats = api.emulator.stats()
    assert stats["events_distinct"] == 3
    assert stats["max_requests_in_window"] == 3
    assert stats["max_attempts_in_window"] == 8
    assert stats["requests_by_endpoint"]["/import"] == {"200": 3, "429": 5}


def test_a_slot_is_free_after_retry_after(api) -> None:
    api.emulator.settings(quota="2/1s")
    for _ in range(4):
        answer = api.send([api.event()])
        if answer.status_code == 429:
            time.sleep(int(answer.headers["Retry-After"]))
            assert api.send([api.event()]).status_code == 200
    assert api.emulator.stats()["max_requests_in_window"] <= 2


def test_failed_requests_count_but_not_those_without_credentials(api) -> None:
    api.emulator.settings(quota="2/hour")
    assert api.send([api.event()], auth=("wrong", "")).status_code == 401
    assert api.send(b"no json").status_code == 400
    assert api.send([api.event(time="noon")]).status_code == 400
    assert api.send([api.event()]).status_code == 429


def test_quota_concerns_import_only(api) -> None:
    api.emulator.settings(quota="1/hour")
    for _ in range(3):
        assert api.send([api.event()], path="/track?verbose=1").json()["status"] == 1
    assert api.send([api.event()]).status_code == 200


def test_reset_frees_the_quota(api) -> None:
    api.emulator.settings(quota="1/hour")
    api.send([api.event()])
    assert api.send([api.event()]).status_code == 429
    api.emulator.reset()
    assert api.send([api.event()]).status_code == 200
