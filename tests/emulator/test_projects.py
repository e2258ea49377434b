"""Several projects in one emulator, and regions."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixpanel_sink.emulator import projects
from mixpanel_sink.emulator.quota import Quota
from mixpanel_sink.emulator.settings import Settings
from mixpanel_sink.emulator.testing import Emulator, EmulatorError
from tests.emulator.conftest import Api

PROJECTS = [
    {"id": 1, "token": "t1", "api_secret": "s1", "quota": "2/hour"},
    {"id": 2, "token": "t2", "api_secret": "s2", "identity_mode": "original", "region": "eu"},
    {"id": 3, "token": "t3", "api_secret": "s3", "region": "in"},
]


@pytest.fixture(scope="module")
def _running() -> Iterator[Emulator]:
    with Emulator(
        projects=PROJECTS, service_account=("robot", "robot-secret"), variant="reference"
    ) as running:
        yield running


@pytest.fixture
def api(_running: Emulator) -> Api:
    _running.reset(region=None, variant="reference")
    _running.settings(projects=[{"id": 1, "quota": "2/hour"}])
    return Api(_running)


def _import(api: Api, number: int, events: int = 1) -> int:
    sent = [api.event(token=f"t{number}") for _ in range(events)]
    return api.send(sent, auth=(f"s{number}", "")).status_code


def test_each_secret_opens_its_project(api: Api) -> None:
    for number, events in ((1, 1), (2, 2), (3, 3)):
        assert _import(api, number, events) == 200
    stats = api.emulator.stats()["projects"]
    assert [stats[n]["events_distinct"] for n in ("1", "2", "3")] == [1, 2, 3]
    assert {e["project"] for e in api.emulator.event_details(project=2)} == {2}
    assert len(api.emulator.event_details(project=3)) == 3


def test_each_project_has_its_quota(api: Api) -> None:
    assert [_import(api, 1) for _ in range(3)] == [200, 200, 429]
    assert [_import(api, 2) for _ in range(5)] == [200] * 5
    stats = api.emulator.stats()
    assert stats["projects"]["1"]["max_requests_in_window"] == 2
    assert stats["projects"]["1"]["max_attempts_in_window"] == 3
    assert stats["projects"]["2"]["max_requests_in_window"] == 5
    one, two, _ = api.emulator.quota()
    assert (one["project"], one["quota"], one["used"]) == (1, "2/hour", 2)
    assert 3500 < one["free_in"] <= 3600
    assert (two["project"], two["quota"]) == (2, None)


def test_one_projects_quota_changes_alone(api: Api) -> None:
    shown = api.emulator.settings(projects=[{"id": 2, "quota": "1/hour"}])["projects"]
    assert [p["quota"] for p in shown] == ["2/hour", "1/hour", None]
    assert [_import(api, 2) for _ in range(2)] == [200, 429]
    api.emulator.settings(projects=[{"id": 2, "quota": "none"}])


@pytest.mark.parametrize(
    "wrong", [5, [], [{}], [{"id": 9}], [{"id": 1, "token": "x"}], [{"id": 1, "quota": "many"}]]
)
def test_wrong_changes_of_projects(api: Api, wrong) -> None:
    with pytest.raises(EmulatorError):
        api.emulator.settings(projects=wrong)


def test_one_track_request_to_many_projects(api: Api) -> None:
    events = [api.event(token=f"t{n}") for n in (1, 2, 2, 3, 3, 3)]
    twice = [*events, events[0], api.event(token="bogus")]
    assert api.send(twice, path="/track?verbose=1").json()["status"] == 0
    stats = api.emulator.stats()["projects"]
    assert [stats[n]["events_distinct"] for n in ("1", "2", "3")] == [1, 2, 3]
    assert stats["1"]["duplicates"] == 1
    updates = [{"$token": f"t{n}", "$distinct_id": "u", "$set": {"n": n}} for n in (1, 2)]
    api.send(updates, path="/engage")
    assert api.emulator.profile("u", project=2)["properties"] == {"n": 2}
    assert api.emulator.profile("u")["properties"] == {"n": 1}
    assert api.emulator.stats()["projects"]["2"]["updates"] == 1


def test_the_same_ids_in_two_projects_are_two_events(api: Api) -> None:
    event = api.event(token=...)
    for secret in ("s2", "s3", "s2"):
        assert api.send([event], auth=(secret, "")).status_code == 200
    assert api.emulator.stats()["events_distinct"] == 2


def test_a_service_account_for_all(api: Api) -> None:
    auth = ("robot", "robot-secret")
    for number in (2, 3):
        path = f"/import?project_id={number}"
        assert api.send([api.event(token=...)], auth=auth, path=path).status_code == 200
    assert {r["project"] for r in api.emulator.requests()} == {2, 3}
    assert api.send([api.event()], auth=auth, path="/import?project_id=9").status_code == 401


def test_identity_modes_differ(api: Api) -> None:
    for number in (2, 3):
        merge = {"event": "$merge", "properties": {"$distinct_ids": ["a", "b"]}}
        assert api.send([merge], auth=(f"s{number}", "")).status_code == 200
    assert api.emulator.user("b", project=2)["distinct_id"] == "a"
    assert api.emulator.user("b", project=3)["distinct_id"] == "b"


def test_a_region_does_not_know_the_projects_of_another(api: Api) -> None:
    api.emulator.settings(region="eu")
    assert [_import(api, n) for n in (1, 2, 3)] == [200, 200, 401]
    stranger, known = api.event(token="t3"), api.event(token="t2")
    assert api.send([stranger], path="/track?verbose=1").json() == {
        **{"status": 0, "error": "Invalid token"}
    }
    assert api.send([stranger], path="/track", accept="text/plain").text == "1"
    assert api.send([known], path="/track?verbose=1").json()["status"] == 1
    update = {"$token": "t3", "$distinct_id": "u", "$set": {"a": 1}}
    assert api.send([update], path="/engage?verbose=1").json()["error"] == "Invalid token"
    robot = ("robot", "robot-secret")
    path = "/import?project_id=3"
    assert api.send([api.event(token=...)], auth=robot, path=path).status_code == 401


def test_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "projects.yaml"
    path.write_text(
        "projects:\n"
        "  - {id: 1, token: t, api_secret: s, quota: 5/second}\n"
        "  - {id: 2, token: u, quota: none, identity_mode: legacy, region: in}\n"
        "  - {id: 3}\n"
        "service_accounts:\n"
        "  - {user: robot, secret: r, projects: [2, 3]}\n"
    )
    several, (account,) = projects.read(path, Quota(7, 1))
    assert [p.quota for p in several] == [Quota(5, 1), None, Quota(7, 1)]
    assert (several[1].identity_mode, several[1].region) == ("legacy", "in")
    assert account.project_ids == {2, 3}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("5", "must hold projects"),
        ("[", "neither JSON nor YAML"),
        ("[]", "at least one"),
        ('{"projects": 5}', "must be a list"),
        ('{"other": []}', "must hold projects"),
        ("[5]", "must be an object"),
        ("[{}]", "needs 'id'"),
        ('[{"id": "1"}]', "must be an int"),
        ('[{"id": 1, "colour": "red"}]', "colour"),
        ('[{"id": 1, "quota": "many"}]', "60/hour"),
        ('[{"id": 1, "region": "mars"}]', "us, eu, in"),
        ('[{"id": 1, "identity_mode": "odd"}]', "simplified, original, legacy"),
        ('{"projects": [{"id": 1}], "service_accounts": [{"user": "a"}]}', "needs"),
        (
            '{"projects": [{"id": 1}],'
            ' "service_accounts": [{"user": "a", "secret": "b", "projects": [2]}]}',
            "names project 2",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "projects.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=says):
        projects.read(path)


@pytest.mark.parametrize("name", ["id", "token", "api_secret"])
def test_two_projects_with_the_same_key(name: str) -> None:
    twins = [{"id": 1, "token": "a", "api_secret": "b"}, {"id": 2, "token": "c"}]
    twins[1][name] = twins[0][name]
    several, _ = projects.parse(twins)
    with pytest.raises(ValueError, match=f"two projects have the same {name}"):
        Settings(projects=several)


def test_no_keys_are_shown(api: Api) -> None:
    shown = json.dumps([api.emulator.settings(), api.emulator.stats(), api.emulator.quota()])
    for secret in ("t1", "s1", "t2", "s2", "robot-secret"):
        assert f'"{secret}"' not in shown
