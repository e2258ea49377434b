"""Identity events: what the helpers make, and what is said of a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mixpanel_sink.api.identity import (
    alias,
    explain,
    identify,
    is_ignored_anon_id,
    merge,
    missing_part,
)
from mixpanel_sink.api.limits import INSERT_ID
from mixpanel_sink.errors import SettingError


def test_identify_has_the_ids_of_both_documents() -> None:
    event = identify("user_123", "device_xyz", seconds=1_700_000_000.25)
    insert_id = event["properties"].pop("$insert_id")
    assert event == {
        "event": "$identify",
        "properties": {
            "distinct_id": "user_123", "$identified_id": "user_123", "$anon_id": "device_xyz",
            "time": 1_700_000_000_250,
        },
    }  # fmt: skip
    assert INSERT_ID.fullmatch(insert_id)


def test_alias_and_merge() -> None:
    assert alias("a", "b")["properties"].items() >= {"distinct_id": "a", "alias": "b"}.items()
    made = merge("a", "b")
    assert made["properties"]["$distinct_ids"] == ["a", "b"]
    assert made["properties"]["time"] > 1_700_000_000_000
    assert merge("a", "b", seconds=5)["properties"]["time"] == 5000


@pytest.mark.parametrize("make", [identify, alias, merge])
def test_the_insert_id_is_of_the_link(make: Callable[..., Any]) -> None:
    def insert_id(*ids: str, **more: Any) -> str:
        made: str = make(*ids, **more)["properties"]["$insert_id"]
        return made

    assert insert_id("a", "b") == insert_id("a", "b", seconds=7.0)
    assert len({insert_id("a", "b"), insert_id("b", "a"), insert_id("a", "c")}) == 3
    assert (
        identify("a", "b")["properties"]["$insert_id"]
        != alias("a", "b")["properties"]["$insert_id"]
    )


@pytest.mark.parametrize("make", [identify, alias, merge])
@pytest.mark.parametrize("ids", [("", "b"), ("a", ""), (None, "b"), ("a", 5)])
def test_ids_are_text(make: Callable[..., Any], ids: Any) -> None:
    with pytest.raises(SettingError, match="ids are text that is not empty"):
        make(*ids)


@pytest.mark.parametrize("make", [identify, alias, merge])
def test_two_ids(make: Callable[..., Any]) -> None:
    with pytest.raises(SettingError, match="nothing to join"):
        make("a", "a")


def test_what_is_missing() -> None:
    for event in (identify("a", "b"), alias("a", "b"), merge("a", "b")):
        assert missing_part(event["event"], event["properties"]) is None
    assert missing_part("Visit", {}) is None
    assert missing_part("$identify", {"$identified_id": "u", "$anon_id": ""}) == "$anon_id"
    assert missing_part("$merge", {"$distinct_ids": "ab"}) == "$distinct_ids"


UUID4 = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("anon_id", "ignored"),
    [
        (UUID4, False),
        (UUID4.upper(), False),
        (f"$device:{UUID4}", False),
        (UUID4.replace("-4", "-1"), True),
        (UUID4 + "\n", True),
        ("device_xyz", True),
        (7, True),
    ],
)
def test_original_id_merge_wants_a_uuid(anon_id: Any, ignored: bool) -> None:
    assert is_ignored_anon_id("$identify", {"$anon_id": anon_id}) is ignored
    assert not is_ignored_anon_id("Visit", {"$anon_id": anon_id})


def test_explanations() -> None:
    def said(event: Any) -> str:
        return explain(json.dumps(event, separators=(",", ":")).encode())

    assert "$merge goes to /import" in said(merge("a", "b"))
    assert "$create_alias works only" in said(alias("a", "b"))
    assert "UUID of version 4" in said(identify("a", "b"))
    assert said({"event": "Visit", "properties": {}}) == ""
    assert said({"event": "$merged", "properties": {}}) == ""
    assert said({"$distinct_id": "$merge", "$set": {}}) == ""
