"""/engage and /groups: what each operation does, and what is refused, in every way of asking."""

import gzip
import json
import random

import pytest

from mixpanel_sink.emulator import profiles


def _update(api, kind: str = "engage", **operations) -> dict:
    ids = {"$distinct_id": "u"} if kind == "engage" else {"$group_key": "k", "$group_id": "g"}
    named = {f"${name}": value for name, value in operations.items()}
    return {"$token": api.emulator.project_token, **ids, **named}


def _properties(api, kind: str):
    found = api.emulator.profile("u") if kind == "engage" else api.emulator.group("k", "g")
    listed = api.emulator.profiles() if kind == "engage" else api.emulator.groups()
    assert [p["properties"] for p in listed] == (
        [] if found["properties"] is None else [found["properties"]]
    )
    return found["properties"]


BOTH = [
    ([{"set": {"a": 1}}, {"set": {"a": 2, "b": None}}], {"a": 2, "b": None}),
    ([{"set_once": {"a": 1}}, {"set_once": {"a": 2, "b": 3}}], {"a": 1, "b": 3}),
    ([{"union": {"l": [1, 2]}}, {"union": {"l": [2, 3, 3]}}], {"l": [1, 2, 3]}),
    ([{"set": {"l": "text"}}, {"union": {"l": [1]}}], {"l": "text"}),
    ([{"union": {"l": [1, 2, 1]}}, {"remove": {"l": 1, "m": 2}}], {"l": [2]}),
    ([{"union": {"l": [1, True, 1.0, [0], [False]]}}], {"l": [1, True, [0], [False]]}),
    (
        [{"union": {"l": [True, {"a": 0}]}}, {"remove": {"l": 1}}, {"remove": {"l": {"a": False}}}],
        {"l": [True, {"a": 0}]},
    ),
    ([{"set": {"a": 1, "b": 2}}, {"unset": ["a", "c"]}], {"b": 2}),
    ([{"set": {"a": 1}}, {"delete": ""}], None),
    ([{"set": {"a": 1}}, {"delete": None}, {"set_once": {"a": 2}}], {"a": 2}),
    ([{"unset": ["a"]}], {}),
]
ENGAGE = [
    ([{"add": {"n": 2}}, {"add": {"n": -0.5}}], {"n": 1.5}),
    ([{"set": {"n": "text"}}, {"add": {"n": 1}}], {"n": "text"}),
    ([{"append": {"l": 1}}, {"append": {"l": [2]}}], {"l": [1, [2]]}),
    ([{"set": {"l": "text"}}, {"append": {"l": 1}}], {"l": "text"}),
    (
        [{"append": {"l": 1}, "add": {"n": 1}, "set": {"a": 1}, "set_once": {"a": 2, "b": 2}}],
        {"a": 1, "b": 2, "n": 1, "l": [1]},
    ),
]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("kind", "updates", "left"),
    [
        *(("engage", *case) for case in BOTH + ENGAGE),
        *(("groups", *case) for case in BOTH),
    ],
)
def test_operations(page, kind: str, updates: list[dict], left, apart: bool) -> None:
    sent = [_update(page, kind, **operations) for operations in updates]
    for body in sent if apart else [sent]:
        assert page.send(body, path=f"/{kind}?verbose=1").json() == {"status": 1, "error": None}
    assert _properties(page, kind) == left
    shown = page.emulator.profile("u") if kind == "engage" else page.emulator.group("k", "g")
    assert [operation["update"] for operation in shown["operations"]] == sent


WRONG = [
    ("$set", {"set": 1}),
    ("$set", {"set": ["a"]}),
    ("$set_once", {"set_once": "a"}),
    ("$union", {"union": {"l": "x"}}),
    ("$union", {"union": ["x"]}),
    ("$union", {"union": {"l": []}}),
    ("$union", {"union": {"l": ["x" * 250] * 1050}}),
    ("$append", {"append": {"l": ["x" * 250] * 1050}}),
    ("$set", {"set": {f"p{n}": n for n in range(2001)}}),
    ("", {"set": {f"p{n}": "x" * 600 for n in range(1800)}}),
    ("$remove", {"remove": "x"}),
    ("$unset", {"unset": {"a": 1}}),
    ("$unset", {"unset": "a"}),
    ("$unset", {"unset": []}),
    ("$unset", {"unset": [1]}),
    ("$delete", {"delete": "", "set": {"a": 1}}),
    ("$ip", {"set": {}, "ip": 5}),
    ("$time", {"set": {}, "time": "noon"}),
    ("$ignore_time", {"set": {}, "ignore_time": "maybe"}),
    ("$distinct_id", {"set": {}, "distinct_id": ""}),
    ("$distinct_id", {"set": {}, "distinct_id": None}),
    ("$token", {"set": {}, "token": ""}),
    ("$token", {"set": {}, "token": "bogus"}),
    ("", {}),
    ("$add", {"add": {"n": "1"}}),
    ("$add", {"add": {"n": True}}),
    ("$add", {"add": [1]}),
    ("$append", {"append": [1]}),
]


@pytest.mark.parametrize(("field", "operations"), WRONG)
def test_wrong_updates(api, field: str, operations: dict) -> None:
    """Taken without a word, told when verbose, named when strict; the others land."""
    wrong, good = _update(api, **operations), {**_update(api, set={"a": 1}), "$distinct_id": "v"}
    quiet = api.send([good, wrong], path="/engage", accept="text/plain")
    assert (quiet.status_code, quiet.text) == (200, "1")
    told = api.send([good, wrong], path="/engage?verbose=1")
    assert (told.status_code, told.json()["status"]) == (200, 0)
    strict = api.send([good, wrong], path="/engage?strict=1")
    assert strict.status_code == 400
    (record,) = strict.json()["failed_records"]
    assert (record["index"], record["field"]) == (1, field)
    assert record["message"] == told.json()["error"]
    assert strict.json()["num_good_events"] == 1
    assert [p["$distinct_id"] for p in api.emulator.profiles()] == ["v"]
    assert api.emulator.profile("v")["properties"] == {"a": 1}


@pytest.mark.parametrize("operations", [{"add": {"n": 1}}, {"append": {"l": 1}}])
def test_groups_have_no_such_operation(api, operations: dict) -> None:
    answer = api.send([_update(api, "groups", **operations)], path="/groups?strict=1")
    assert "/groups does not have" in answer.json()["failed_records"][0]["message"]


def test_strict_answers(page, reference) -> None:
    good = _update(page, set={"a": 1})
    assert page.send([good], path="/engage?strict=1").json() == {"status": 1, "error": None}
    said = reference.send([good, good], path="/engage?strict=1").json()
    assert said == {"code": 200, "num_good_events": 2, "status": "OK"}
    reference.emulator.settings(strict_count="num_records_imported")
    said = reference.send([good, 5], path="/groups?strict=1").json()
    assert said["num_records_imported"] == 0
    assert said["code"] == 400


def test_strict_track(reference) -> None:
    events = [reference.event(), reference.event(""), reference.event(token="bogus")]
    answer = reference.send(events, path="/track?strict=1")
    assert answer.status_code == 400
    assert [r["index"] for r in answer.json()["failed_records"]] == [1, 2]
    assert answer.json()["num_good_events"] == 1
    assert reference.emulator.events() == events[:1]


@pytest.mark.parametrize("kind", ["engage", "groups"])
def test_no_gzip(api, kind: str) -> None:
    body = gzip.compress(json.dumps([_update(api, kind, set={"a": 1})]).encode())
    answer = api.send(body, path=f"/{kind}?verbose=1", Content_Encoding="gzip")
    assert answer.status_code == 400
    assert answer.json()["status"] == 0
    assert api.emulator.updates(kind) == []


@pytest.mark.parametrize("kind", ["engage", "groups"])
def test_batch_limit(api, kind: str) -> None:
    update = _update(api, kind, set={"a": 1})
    assert api.send([update] * 2001, path=f"/{kind}?verbose=1").status_code == 413
    assert api.send([update] * 2000, path=f"/{kind}?verbose=1").status_code == 200
    assert api.emulator.stats()[f"{kind}_updates"] == 2000


@pytest.mark.parametrize("way", ["form", "query"])
def test_old_ways_of_sending(api, way: str) -> None:
    update = _update(api, set={"a": 1})
    if way == "form":
        answer = api.post("/engage#profile-set", {"data": json.dumps(update)})
    else:
        url = f"{api.emulator.url}/engage"
        answer = api.session.get(url, params={"data": json.dumps(update)}, timeout=10)
    assert answer.text == "1"
    assert api.emulator.updates() == [update]


def test_numbers_are_ids_too(api) -> None:
    api.send([{**_update(api, set={"a": 1}), "$distinct_id": 13793}], path="/engage")
    assert api.emulator.profile("13793")["properties"] == {"a": 1}


def test_last_seen(api) -> None:
    api.send([_update(api, set={"a": 1}, time=1_700_000_000)], path="/engage")
    assert api.emulator.profiles()[0]["last_seen"] == 1_700_000_000_000
    api.send([_update(api, set={"a": 2}, ignore_time=True)], path="/engage")
    (profile,) = api.emulator.profiles()
    assert (profile["last_seen"], profile["updates"]) == (1_700_000_000_000, 2)


def test_list_search_and_projects(api) -> None:
    updates = [
        {**_update(api, set={"city": "Oslo" if n % 2 else "Rom"}), "$distinct_id": f"u{n}"}
        for n in range(20)
    ]
    api.send(updates, path="/engage")
    names = [p["$distinct_id"] for p in api.emulator.profiles(limit=3, offset=4)]
    assert names == sorted(f"u{n}" for n in range(20))[4:7]
    assert len(api.emulator.profiles(search="Oslo")) == 10
    assert [p["$distinct_id"] for p in api.emulator.profiles(search="u13")] == ["u13"]
    assert api.emulator.profiles(project=7) == []


def test_kept_profiles_equal_a_replay_of_the_operations() -> None:
    rng = random.Random(5)
    values = {
        "$set": lambda: {rng.choice("abc"): rng.randint(0, 3)},
        "$set_once": lambda: {rng.choice("abc"): rng.randint(0, 3)},
        "$add": lambda: {rng.choice("abc"): rng.randint(0, 3)},
        "$append": lambda: {rng.choice("lm"): rng.randint(0, 3)},
        "$union": lambda: {rng.choice("lm"): [rng.randint(0, 3), 1]},
        "$remove": lambda: {rng.choice("lm"): rng.randint(0, 3)},
        "$unset": lambda: [rng.choice("abclm")],
        "$delete": lambda: "",
    }
    for _ in range(200):
        names = [rng.choice(list(values)) for _ in range(rng.randint(0, 12))]
        updates = [{name: values[name]()} for name in names]
        kept = None
        for update in updates:
            kept = profiles.apply(kept, update)
        assert kept == profiles.replay(updates)


@pytest.mark.parametrize(
    ("query", "given", "address"),
    [
        ("", {}, "127.0.0.1"),
        ("?ip=0", {}, None),
        ("?ip=1", {}, "127.0.0.1"),
        ("", {"ip": "9.9.9.9"}, "9.9.9.9"),
        ("", {"ip": 0}, None),
        ("", {"ip": "0"}, None),
        ("?ip=0", {"ip": "9.9.9.9"}, "9.9.9.9"),
    ],
)
def test_geolocation(api, query: str, given: dict, address: str | None) -> None:
    api.send([_update(api, set={"a": 1}, **given)], path=f"/engage{query}")
    assert api.emulator.profiles()[0]["geolocation"] == address
    (operation,) = api.emulator.profile("u")["operations"]
    assert operation["geolocation"] == address
