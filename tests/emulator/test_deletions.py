"""Deleting events as people do in a project's settings, and users by Mixpanel's API."""

import datetime
import time

import pytest

from mixpanel_sink.emulator.testing import EmulatorError

DAY = 86_400
TODAY = datetime.datetime.now(datetime.UTC).date()
FIRST, LAST = str(TODAY - datetime.timedelta(2)), str(TODAY)


def stored(api) -> set[str]:
    return {each["properties"]["$insert_id"] for each in api.emulator.events(100)}


def test_a_deletion_takes_what_fits_and_nothing_else(api) -> None:
    now = int(time.time()) - 60
    bad = api.event("Order", run="bad", time=now)
    good = api.event("Order", run="good", time=now)
    other = api.event("Visit", run="bad", time=now)
    early = api.event("Order", run="bad", time=now - 10 * DAY)
    api.send([bad, good, other, early])
    assert api.emulator.delete_events("Order", FIRST, LAST, {"run": "bad"})["events"] == 1
    left = {each["properties"]["$insert_id"] for each in (good, other, early)}
    assert stored(api) == left
    exported = api.emulator.export(str(TODAY - datetime.timedelta(20)), LAST)
    assert {each["properties"]["$insert_id"] for each in exported} == left
    (listed,) = api.emulator.deletions()
    assert (listed["event"], listed["where"], listed["events"]) == ("Order", {"run": "bad"}, 1)
    counts = api.emulator.counts("day")["events"]
    assert (sum(counts["Order"]), sum(counts["Visit"])) == (2, 1)


def test_the_same_id_is_accepted_and_dropped_for_thirty_days(api) -> None:
    event = api.event("Order", run="bad", time=int(time.time()) - 60)
    for days, kept in ((0, 0), (29.9, 0), (30.1, 1)):
        api.emulator.reset()
        api.send([event])
        api.emulator.delete_events("Order", FIRST, LAST, days_ago=days)
        assert api.send([{**event, "properties": {**event["properties"], "run": "good"}}]).ok
        assert len(api.emulator.events(10)) == kept, days
        stats = api.emulator.stats()
        assert (stats["events_accepted"], stats["events_dropped"]) == (2, 1 - kept)
        other = {**event["properties"], "$insert_id": "renewed", "run": "good"}
        api.send([{"event": "Order", "properties": other}])
        assert "renewed" in stored(api)


def test_it_can_be_undone_within_seven_days(api) -> None:
    events = [api.event("Order", time=int(time.time()) - 60) for _ in range(3)]
    api.send(events)
    api.send(events[:1])  # a duplicate, which the export has
    number = api.emulator.delete_events("Order", FIRST, LAST)["id"]
    later = api.event("Order", time=int(time.time()) - 60)
    api.send([later])
    assert api.emulator.undo_deletion(number)["events"] == 3
    ids = {each["properties"]["$insert_id"] for each in (*events, later)}
    assert stored(api) == ids
    assert len(list(api.emulator.export(FIRST, LAST))) == 5
    api.send(events)  # known again
    assert stored(api) == ids
    with pytest.raises(EmulatorError, match="no deletion 1 here that could be undone"):
        api.emulator.undo_deletion(number)
    late = api.emulator.delete_events("Order", FIRST, LAST, days_ago=7.1)["id"]
    with pytest.raises(EmulatorError, match="permanent"):
        api.emulator.undo_deletion(late)


def test_what_data_deletion_refuses(api) -> None:
    refused = [
        ({"event": ""}, "the name of one event"),
        ({"where": {"distinct_id": "u"}}, "users are deleted by the API"),
        ({"from_date": "May"}, "from must be a day"),
        ({"from_date": str(TODAY - datetime.timedelta(182))}, "older than 180 days"),
    ]
    for change, said in refused:
        given = {"event": "Order", "from_date": FIRST, "to_date": LAST, **change}
        with pytest.raises(EmulatorError, match=said):
            api.emulator.delete_events(**given)
    for _ in range(10):
        api.emulator.delete_events("Order", FIRST, LAST)
    with pytest.raises(EmulatorError, match="10 data deletions a month"):
        api.emulator.delete_events("Order", FIRST, LAST)


def test_users_are_deleted_by_the_public_api(api) -> None:
    now = int(time.time()) - 60
    gone, kept = api.event(distinct_id="u1", time=now), api.event(distinct_id="u2", time=now)
    api.send([gone, kept])
    url = f"{api.emulator.url}/api/app/data-deletions/v3.0/?token={api.emulator.project_token}"
    body = {"distinct_ids": ["u1"], "compliance_type": "CCPA"}
    bearer = {"Authorization": "Bearer of-a-person"}
    answer = api.session.post(url, json=body, headers=bearer, timeout=30)
    (task,) = answer.json()["results"]
    assert (task["status"], task["distinct_id_count"]) == ("PENDING", 1)
    assert stored(api) == {kept["properties"]["$insert_id"]}
    api.send([gone])
    assert stored(api) == {kept["properties"]["$insert_id"]}
    status = url.replace("v3.0/", f"v3.0/{task['tracking_id']}/")
    found = api.session.get(status, headers=bearer, timeout=30).json()
    assert found["results"] == {"status": "SUCCESS", "result": "", "distinct_ids": ["u1"]}
    assert api.session.delete(status, headers=bearer, timeout=30).status_code == 405
    unknown = url.replace("v3.0/", "v3.0/99/")
    assert api.session.get(unknown, headers=bearer, timeout=30).status_code == 404
    assert api.session.post(url, json=body, timeout=30).status_code == 401
    elsewhere = url.replace(api.emulator.project_token, "wrong")
    assert api.session.post(elsewhere, json=body, headers=bearer, timeout=30).status_code == 403
    wrong = [
        {"distinct_ids": "u1"},
        {"distinct_ids": ["u"] * 2000},
        {**body, "compliance_type": "x"},
    ]
    for given in wrong:
        assert api.session.post(url, json=given, headers=bearer, timeout=30).status_code == 400
