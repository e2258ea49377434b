"""What differs between Mixpanel's endpoints."""

from __future__ import annotations

import pickle

import orjson
import pytest

from mixpanel_sink.api.endpoints import ENDPOINTS, ENGAGE, GROUPS, IMPORT, TRACK, event_endpoint
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.quota import Quota, default_quota


def test_how_each_wants_its_requests() -> None:
    assert [(e.name, e.gzip, e.basic_auth, e.ordered) for e in ENDPOINTS.values()] == [
        ("import", True, True, False),
        ("track", False, False, False),
        ("engage", False, False, True),
        ("groups", False, False, True),
    ]
    assert default_quota(IMPORT) == Quota.page()
    assert {default_quota(e) for e in (TRACK, ENGAGE, GROUPS)} == {Quota.reference()}


@pytest.mark.parametrize(
    ("update", "repeatable"),
    [
        ({"$set": {}}, True),
        ({"$set_once": {}}, True),
        ({"$union": {}}, True),
        ({"$unset": []}, True),
        ({"$delete": ""}, True),
        ({"$set": {"$add": 1}}, True),
        ({"$add": {}}, False),
        ({"$append": {}}, False),
        ({"$remove": {}}, False),
        ({"$set": {}, "$add": {}}, False),
    ],
)
def test_what_may_be_sent_twice(update: dict[str, object], repeatable: bool) -> None:
    text = orjson.dumps({"$distinct_id": "u", **update})
    assert ENGAGE.repeatable(text) is repeatable
    assert GROUPS.repeatable(text) is repeatable
    assert IMPORT.repeatable(b"{}")


def test_whose_update_it_is() -> None:
    assert ENGAGE.group_of(b'{"$distinct_id":"u","$set":{}}') == "u"
    assert GROUPS.group_of(b'{"$group_key":"a","$group_id":"bc"}') != GROUPS.group_of(
        b'{"$group_key":"ab","$group_id":"c"}'
    )


def test_by_name() -> None:
    assert event_endpoint("import") is IMPORT
    assert event_endpoint("track") is TRACK
    assert pickle.loads(pickle.dumps(TRACK)) == TRACK
    with pytest.raises(SettingError, match="WriteProfilesToMixpanel"):
        event_endpoint("engage")
