"""PyPI's `mixpanel-utils`, the tool of Mixpanel's own support people."""

import time
from pathlib import Path
from typing import Any

import pytest
from mixpanel_utils import MixpanelUtils

from mixpanel_sink.emulator.testing import Emulator
from tests.clients.conftest import PROJECT, ROBOT

LONG_AGO = 1_600_000_000
PEOPLE = [{"$distinct_id": "u", "$properties": {}}]


def _utils(emulator: Emulator, **options: Any) -> MixpanelUtils:
    utils = MixpanelUtils(
        options.pop("api_secret", emulator.api_secret),
        token=emulator.project_token,
        pool_size=2,
        max_retries=1,
        **options,
    )
    utils.import_api = emulator.url
    utils.raw_api = f"{emulator.url}/api"
    return utils


@pytest.fixture
def utils(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MixpanelUtils:
    # It writes what it could not send into the current folder.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", emulator.certificate)
    return _utils(emulator)


def _events(number: int) -> list[dict[str, Any]]:
    return [
        {
            "event": "Imported",
            "properties": {
                "time": LONG_AGO + n,
                "distinct_id": f"u{n % 7}",
                "$insert_id": f"id-{n}",
                "n": n,
            },
        }
        for n in range(number)
    ]


def test_import_events(utils: MixpanelUtils, emulator: Emulator) -> None:
    utils.import_events(_events(4500), timezone_offset=0)
    assert emulator.stats()["events_distinct"] == 4500
    assert [row["status"] for row in emulator.requests()] == [200] * 3


def test_import_events_with_a_service_account(utils: MixpanelUtils, emulator: Emulator) -> None:
    user, secret = ROBOT
    robot = _utils(emulator, api_secret=secret, service_account_username=user, project_id=PROJECT)
    robot.import_events(_events(10), timezone_offset=0)
    assert emulator.stats()["events_distinct"] == 10


def test_export_events(utils: MixpanelUtils, emulator: Emulator) -> None:
    sent = _events(3000)
    utils.import_events(sent, timezone_offset=0)
    day = time.strftime("%Y-%m-%d", time.gmtime(LONG_AGO))
    got = utils.query_export({"from_date": day, "to_date": day}, add_gzip_header=True)
    ids = [event["properties"]["$insert_id"] for event in got]
    assert ids == [event["properties"]["$insert_id"] for event in sent]
    one = utils.query_export({"from_date": day, "to_date": day, "event": '["Other"]'})
    assert one == []


OPERATIONS = [
    ("people_set", {"a": 1}, {"a": 1, "l": ["x"], "n": 1}),
    ("people_set_once", {"n": 5, "b": 2}, {"l": ["x"], "n": 1, "b": 2}),
    ("people_unset", ["n"], {"l": ["x"]}),
    ("people_add", {"n": 4}, {"l": ["x"], "n": 5}),
    ("people_append", {"l": "x"}, {"l": ["x", "x"], "n": 1}),
    ("people_union", {"l": ["x", "y"]}, {"l": ["x", "y"], "n": 1}),
    ("people_remove", {"l": "x"}, {"l": [], "n": 1}),
    ("people_delete", ..., None),
]


@pytest.mark.parametrize(("name", "value", "leaves"), OPERATIONS, ids=lambda v: str(v)[:16])
def test_people(
    utils: MixpanelUtils, emulator: Emulator, name: str, value: Any, leaves: Any
) -> None:
    utils.people_set({"l": ["x"], "n": 1}, profiles=PEOPLE, backup=False)
    given = () if value is ... else (value,)
    getattr(utils, name)(*given, profiles=PEOPLE, backup=False)
    shown = emulator.profile("u")
    assert shown["properties"] == leaves
    assert len(shown["operations"]) == 2


def test_import_people(utils: MixpanelUtils, emulator: Emulator) -> None:
    people = [{"$distinct_id": f"u{n}", "$properties": {"n": n}} for n in range(2500)]
    utils.import_people(people)
    listed = emulator.profiles(limit=5000)
    assert {p["$distinct_id"]: p["properties"]["n"] for p in listed} == {
        f"u{n}": n for n in range(2500)
    }
    assert all(p["last_seen"] is None for p in listed), "it sends $ignore_time"


def test_a_wrong_secret(utils: MixpanelUtils, emulator: Emulator) -> None:
    _utils(emulator, api_secret="wrong").import_events(_events(1), timezone_offset=0)
    assert emulator.stats()["requests_by_endpoint"] == {"/import": {"401": 1}}
