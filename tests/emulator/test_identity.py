"""Identity events in the three ways of identity management, and what they make one user."""

import uuid

import pytest
import requests

TEXT = {"Content-Type": "application/json"}


def _mode(api, mode: str, **settings) -> None:
    api.emulator.settings(identity_mode=mode, **settings)


def _identity(api, name: str, **properties) -> dict:
    named = {key.replace("__", "$"): value for key, value in properties.items()}
    return {"event": name, "properties": {"token": api.emulator.project_token, **named}}


def _track(api, *events: dict) -> dict:
    return api.send(list(events), path="/track?verbose=1").json()


def _anon() -> str:
    return str(uuid.uuid4())


def _ids(api, id: str) -> tuple[str, set[str]]:
    user = api.emulator.user(id)
    return user["distinct_id"], set(user["ids"])


def test_identify_as_the_page_has_it(page) -> None:
    _track(page, page.event("Before", distinct_id="device"))
    said = _track(page, _identity(page, "$identify", distinct_id="u", __anon_id="device"))
    assert said == {"status": 1, "error": None}
    _track(page, page.event("After", distinct_id="u"), page.event("Late", distinct_id="device"))
    for id in ("u", "device"):
        user = page.emulator.user(id)
        assert user["distinct_id"] == "u"
        assert user["events_count"] == 4
        assert {e["event"]["event"] for e in user["events"]} == {
            *("Before", "After", "Late", "$identify")
        }
    (before,) = page.emulator.event_details(event="Before")
    assert (before["user"], before["event"]["properties"]["distinct_id"]) == ("u", "device")


def test_identify_does_nothing_in_the_references_simplified_mode(reference) -> None:
    said = _track(reference, _identity(reference, "$identify", distinct_id="u", __anon_id="d"))
    assert said["status"] == 1
    assert _ids(reference, "u") == ("u", {"u"})
    (link,) = reference.emulator.links()
    assert "no functionality" in link["ignored"]


@pytest.mark.parametrize("path", ["/track?verbose=1", "/import?strict=1"])
def test_identify_in_the_original_mode(api, path: str) -> None:
    _mode(api, "original")
    anon = _anon()
    api.send([api.event(distinct_id=anon), api.event(distinct_id="u")])
    event = _identity(api, "$identify", __identified_id="u", __anon_id=anon)
    assert api.send([event], path=path).status_code == 200
    assert _ids(api, anon) == ("u", {"u", anon})
    assert api.emulator.user(anon)["events_count"] == 3


def test_original_identify_needs_a_uuid_that_is_not_merged(api) -> None:
    _mode(api, "original")
    anon = _anon()
    _track(
        api,
        _identity(api, "$identify", __identified_id="u", __anon_id="plain"),
        _identity(api, "$identify", __identified_id="u", __anon_id=anon),
        _identity(api, "$identify", __identified_id="v", __anon_id=anon),
    )
    assert _ids(api, "u") == ("u", {"u", anon})
    assert _ids(api, "v") == ("v", {"v"})
    newest, middle, oldest = api.emulator.links()
    assert "merged with 'u'" in newest["ignored"]
    assert middle["ignored"] is None
    assert "UUID" in oldest["ignored"]


@pytest.mark.parametrize("mode", ["original", "legacy"])
def test_alias(api, mode: str) -> None:
    _mode(api, mode)
    _track(api, api.event(distinct_id="old"), api.event(distinct_id="new"))
    _track(api, _identity(api, "$create_alias", distinct_id="old", alias="new"))
    _track(api, _identity(api, "$create_alias", distinct_id="new", alias="newer"))
    _track(api, _identity(api, "$create_alias", distinct_id="other", alias="new"))
    assert _ids(api, "newer") == ("old", {"old", "new", "newer"})
    assert _ids(api, "other") == ("other", {"other"})
    assert "already" in api.emulator.links()[0]["ignored"]


def test_only_identify_names_a_user_by_its_identified_id(api) -> None:
    _mode(api, "original")
    _track(
        api,
        _identity(api, "$create_alias", distinct_id="a", alias="b", __identified_id=5),
        _identity(api, "$create_alias", distinct_id="c", alias="d", __identified_id="e"),
    )
    filed = requests.get(f"{api.emulator.url}/emulator/search", timeout=30).json()["events"]
    assert sorted(event["user"] for event in filed) == ["a", "c"]


def test_merge_by_import_only(api) -> None:
    _mode(api, "original")
    merge = _identity(api, "$merge", __distinct_ids=["a", "b"])
    said = _track(api, merge)
    assert said == {"status": 0, "error": "'$merge' is accepted by /import only"}
    assert _ids(api, "a") == ("a", {"a"})
    assert api.send([merge]).status_code == 200
    assert _ids(api, "b") == ("a", {"a", "b"})
    api.send([_identity(api, "$merge", __distinct_ids=["c", "b"])])
    assert _ids(api, "a") == ("c", {"a", "b", "c"})


def test_a_cluster_has_500_ids(api) -> None:
    _mode(api, "original")
    merges = [_identity(api, "$merge", __distinct_ids=["a", f"b{n}"]) for n in range(500)]
    api.send(merges)
    assert len(_ids(api, "a")[1]) == 500
    assert "500" in api.emulator.links()[0]["ignored"]


@pytest.mark.parametrize("mode", ["simplified", "original", "legacy"])
@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("$merge", {}),
        ("$merge", {"__distinct_ids": ["a"]}),
        ("$merge", {"__distinct_ids": ["a", "b", "c"]}),
        ("$merge", {"__distinct_ids": ["a", 5]}),
        ("$create_alias", {"distinct_id": "a"}),
        ("$create_alias", {"alias": "a"}),
        ("$identify", {"distinct_id": "a"}),
        ("$identify", {"__anon_id": "a"}),
        ("$identify", {"__anon_id": "", "__identified_id": "a"}),
    ],
)
def test_malformed(api, mode: str, name: str, properties: dict) -> None:
    _mode(api, mode)
    answer = api.send([_identity(api, name, **properties)])
    (record,) = answer.json()["failed_records"]
    assert record["field"].startswith("properties.")
    assert api.emulator.events() == api.emulator.links() == []


@pytest.mark.parametrize(
    ("mode", "name", "taken"),
    [
        ("simplified", "$create_alias", False),
        ("simplified", "$merge", False),
        ("original", "$identify", True),
        ("original", "$create_alias", True),
        ("original", "$merge", True),
        ("legacy", "$identify", False),
        ("legacy", "$create_alias", True),
        ("legacy", "$merge", False),
    ],
)
def test_what_a_mode_does_not_know(api, mode: str, name: str, taken: bool) -> None:
    """Mixpanel takes and ignores it; the emulator can be told to refuse it instead."""
    event = _identity(
        api,
        name,
        **{"distinct_id": "a", "alias": "b", "__distinct_ids": ["a", "b"]},
        **{"__identified_id": "a", "__anon_id": _anon()},
    )
    _mode(api, mode)
    assert api.send([event]).status_code == 200
    assert (api.emulator.links()[0]["ignored"] is None) == taken
    _mode(api, mode, refuse_identity=True)
    answer = api.send([event])
    assert answer.status_code == (200 if taken else 400)
    if not taken:
        assert "no functionality" in answer.json()["failed_records"][0]["message"]


def test_devices_and_users_of_a_simplified_project(api) -> None:
    before = api.event("1", distinct_id=..., **{"$device_id": "D1"})
    both = api.event("2", distinct_id=..., **{"$device_id": "D1", "$user_id": "U1"})
    other = api.event("3", distinct_id=..., **{"$device_id": "D2"})
    assert api.send([before, both, other]).status_code == 200
    details = api.emulator.event_details()
    assert [(e["event"]["event"], e["user"]) for e in details] == [
        ("3", "$device:D2"),
        ("2", "U1"),
        ("1", "U1"),
    ]
    assert api.emulator.user("$device:D1")["events_count"] == 2
    # A second user of the device does not get the first one's events.
    api.send([api.event("4", distinct_id=..., **{"$device_id": "D1", "$user_id": "U2"})])
    assert api.emulator.user("U2")["events_count"] == 1
    assert _ids(api, "D1") == ("U1", {"U1", "D1"})


def test_device_and_user_mean_nothing_to_the_original_mode(api) -> None:
    _mode(api, "original")
    api.send([api.event(distinct_id="x", **{"$device_id": "D", "$user_id": "U"})])
    assert _ids(api, "U") == ("U", {"U"})
    assert api.emulator.event_details()[0]["user"] == "x"
    assert api.send([api.event(distinct_id=..., **{"$device_id": "D"})]).status_code == 400


def test_the_profile_of_a_merged_user(page) -> None:
    for id, value in (("device", {"a": 1, "b": 1}), ("u", {"b": 2})):
        update = {"$token": page.emulator.project_token, "$distinct_id": id, "$set": value}
        page.send([update], path="/engage")
    _track(page, _identity(page, "$identify", distinct_id="u", __anon_id="device"))
    for id in ("u", "device"):
        profile = page.emulator.profile(id)
        assert profile["distinct_id"] == "u"
        assert profile["properties"] == {"a": 1, "b": 2}
        assert page.emulator.user(id)["profile"]["properties"] == {"a": 1, "b": 2}


def test_identities_survive_a_restart_and_not_a_reset(tmp_path) -> None:
    from mixpanel_sink.emulator.testing import Emulator
    from tests.emulator.conftest import Api

    emulator = Emulator(db=tmp_path / "kept.db", identity_mode="original")
    with emulator:
        api = Api(emulator)
        api.send([_identity(api, "$merge", __distinct_ids=["a", "b"])])
    with emulator:
        api = Api(emulator)
        api.send([_identity(api, "$merge", __distinct_ids=["b", "c"])])
        assert _ids(api, "c") == ("a", {"a", "b", "c"})
        emulator.reset()
        assert _ids(api, "c") == ("c", {"c"})
        api.send([_identity(api, "$merge", __distinct_ids=["c", "a"])])
        assert _ids(api, "a") == ("c", {"a", "c"})
