"""The assertions for tests: what passes, what fails, and what a failure says."""

import pytest

from mixpanel_sink.emulator.client import Client


def _fails(check, *args, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        check(*args, **options)
    return str(caught.value)


def test_events_flat_and_nested_in_any_order(api) -> None:
    api.send([api.event("A", distinct_id="u1", plan="pro"), api.event("B", distinct_id="u2")])
    check = api.emulator.assert_events
    check([{"event": "B", "distinct_id": "u2"}, {"event": "A", "distinct_id": "u1", "plan": "pro"}])
    check(
        [
            {"event": "A", "properties": {"distinct_id": "u1", "plan": "pro"}},
            {"event": "B", "properties": {"distinct_id": "u2"}},
        ],
        ordered=True,
    )
    said = _fails(
        check,
        [
            {"event": "B", "distinct_id": "u2"},
            {"event": "A", "distinct_id": "u1", "plan": "pro"},
        ],
        ordered=True,
    )
    assert '- A {"distinct_id": "u1", "plan": "pro"}' in said


def test_times_and_ids_count_where_they_are_expected(api) -> None:
    event = api.event("A", distinct_id="u1", time=1_700_000_000)
    api.send([event])
    api.emulator.assert_events([{"event": "A", "distinct_id": "u1", "time": 1_700_000_000}])
    api.emulator.assert_events([event], exact=True)
    _fails(api.emulator.assert_events, [{"event": "A", "distinct_id": "u1"}], exact=True)
    said = _fails(api.emulator.assert_events, [{"event": "A", "distinct_id": "u1", "time": 5}])
    assert '- A {"distinct_id": "u1", "time": 5}' in said
    assert '+ A {"distinct_id": "u1", "time": 1700000000}' in said


def test_part_of_the_properties(api) -> None:
    api.send([api.event("A", distinct_id="u1", plan="pro", city="Oslo")])
    expected = [{"event": "A", "plan": "pro"}]
    api.emulator.assert_events(expected, partial=True)
    _fails(api.emulator.assert_events, expected)
    _fails(api.emulator.assert_events, [{"event": "A", "plan": "free"}], partial=True)


def test_of_each_event_the_properties_that_are_expected_of_it(api) -> None:
    api.send([api.event("A", distinct_id=f"u{n}", plan="pro", n=n) for n in range(3)])
    api.send([api.event("B", distinct_id="u9", plan="free", time=1_700_000_000)])
    mixed = [
        {"event": "A", "plan": "pro"},  # any of them
        {"event": "A", "distinct_id": "u0", "n": 0},
        {"event": "A", "n": 2},
        {"event": "B", "distinct_id": "u9"},
    ]
    api.emulator.assert_events(mixed, partial=True)
    api.emulator.assert_events([mixed[1], mixed[0], *mixed[2:]], partial=True, ordered=True)
    said = _fails(api.emulator.assert_events, [*mixed[:3], mixed[2]], partial=True)
    assert '  - A {"n": 2}\n' in said
    assert '+ B {"distinct_id": "u9", "plan": "free"}' in said
    _fails(api.emulator.assert_events, [mixed[2], *mixed[:2], mixed[3]], partial=True, ordered=True)
    whole = [{"event": "A", "distinct_id": f"u{n}", "plan": "pro", "n": n} for n in range(3)]
    dated = {"event": "B", "distinct_id": "u9", "plan": "free", "time": 1_700_000_000}
    api.emulator.assert_events([*whole, dated])


@pytest.mark.parametrize("wrong", [[{"distinct_id": "u"}], "Sign Up", [None]])
def test_an_expected_event_has_a_name(page, wrong) -> None:
    with pytest.raises(ValueError, match="its name as 'event'"):
        page.emulator.assert_events(wrong)


def test_the_difference_names_what_is_missing_and_what_is_there(api) -> None:
    api.send([api.event("A", distinct_id="u1", plan="free"), api.event("B", distinct_id="u2")])
    said = _fails(
        api.emulator.assert_events,
        [{"event": "A", "distinct_id": "u1", "plan": "pro"}, {"event": "B", "distinct_id": "u2"}],
    )
    assert "expected 2 events, the emulator holds 2 events" in said
    assert '- A {"distinct_id": "u1", "plan": "pro"}' in said
    assert '+ A {"distinct_id": "u1", "plan": "free"}' in said
    assert "B {" not in said


def test_refused_records_are_told(api) -> None:
    api.send([api.event(time="noon")])
    said = _fails(api.emulator.assert_events, [{"event": "Sign Up"}])
    assert "The emulator refused:\n  request 1, record 0: properties.time: " in said
    assert "properties.time" in _fails(api.emulator.assert_no_failures)
    api.emulator.reset()
    api.send([api.event()], auth=("wrong", ""))
    assert "status 401" in _fails(api.emulator.assert_no_failures)
    api.emulator.reset()
    api.emulator.assert_no_failures()


def test_profiles(api) -> None:
    update = {"$token": api.emulator.project_token, "$distinct_id": "u", "$set": {"a": 1}}
    api.send([update], path="/engage")
    api.emulator.assert_profile("u", {"a": 1})
    assert '"a": 2' in _fails(api.emulator.assert_profile, "u", {"a": 2})
    assert "there is no profile of 'v'" in _fails(api.emulator.assert_profile, "v", {})


def test_requests(api) -> None:
    api.send([api.event()])
    api.emulator.assert_requests(1)
    api.emulator.assert_requests(0, path="/track")
    said = _fails(api.emulator.assert_requests, 2)
    assert "expected 2 requests to /import, got 1" in said
    assert "status 200, 1 record" in said


def test_a_client_of_an_emulator_that_runs_elsewhere(api) -> None:
    api.send([api.event("A", distinct_id="u1")])
    Client(api.emulator.url).assert_events([{"event": "A", "distinct_id": "u1"}])


def test_restore(api) -> None:
    api.send([api.event()])
    variant = api.emulator.settings()["variant"]
    api.emulator.settings(quota="1/hour", max_batch=3, dedupe="reference")
    settings = api.emulator.restore()
    assert settings["projects"][0]["quota"] is None
    assert (settings["max_batch"], settings["dedupe"]) == (2000, variant)
    assert api.emulator.requests() == []
