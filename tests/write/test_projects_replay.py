"""Failed records of several projects, sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.results import FailedRecord
from tests.running import failures, run
from tests.write.test_write_projects import (
    NAMES,
    _running,  # noqa: F401
    by_user,
    ids,
    mixpanel,  # noqa: F401
    raw,
    record,
    stored,
    write,
)


def test_a_failed_record_goes_back_to_its_project(mixpanel: Emulator) -> None:
    events = [json.dumps(raw(n, False)) for n in range(6)]
    failed = [
        FailedRecord("gave_up", "", destination=NAMES[n % 3], event_json=event)
        for n, event in enumerate(events)
    ]
    failed.append(failed[0]._replace(destination="delta"))
    ran = run(failed, write(mixpanel, None))
    assert stored(mixpanel) == {"alpha": ids(0, 3), "beta": ids(1, 4), "gamma": ids(2, 5)}
    (unknown,) = failures(ran)
    assert (unknown.reason, unknown.destination) == ("destination_unknown", None)
    assert unknown.event == json.loads(events[0])  # for when there is such a project


@pytest.mark.parametrize("destination", [None, "beta", "delta"])
def test_what_cannot_be_sent_stays_what_it_is(mixpanel: Emulator, destination: str | None) -> None:
    function = FailedRecord("function_failed", "f raised.", record_json=json.dumps(record(0)))
    line = FailedRecord("line_unreadable", "Line 3 ...", record_json='"{"', file="a.json", row=2)
    given = [failed._replace(destination=destination) for failed in (function, line)]
    ran = run([*given, record(1)], write(mixpanel))
    assert failures(ran) == given
    assert stored(mixpanel)["beta"] == ids(1)
    assert ran.totals[0][0][:3] == (3, 1, 2)


@pytest.mark.parametrize("by", ["shop", by_user])
def test_a_failed_record_of_no_project_goes_where_its_record_says(
    mixpanel: Emulator, by: Any
) -> None:
    failed = [
        FailedRecord("destination_unknown", "", record_json=json.dumps(record(n)), file="a", row=n)
        for n in range(3)
    ]
    wrong = {**record(3), "shop": "delta", "user": "?"}
    failed.append(failed[0]._replace(record_json=json.dumps(wrong), row=3))
    ran = run(failed, write(mixpanel, destination=by))
    assert stored(mixpanel) == {name: ids(n) for n, name in enumerate(NAMES)}
    (unknown,) = failures(ran)
    assert (unknown.reason, unknown.file, unknown.row) == ("destination_unknown", "a", 3)
    assert unknown.record == wrong
    assert unknown.destination is None


def test_a_raw_event_of_no_project_goes_where_its_label_says(mixpanel: Emulator) -> None:
    failed = [
        FailedRecord("destination_unknown", "", record_json=json.dumps(raw(n, n == 1)))
        for n in range(3)
    ]
    assert run(failed, write(mixpanel, None)).failed == []
    assert stored(mixpanel) == {name: ids(n) for n, name in enumerate(NAMES)}
