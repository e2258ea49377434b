"""PyPI's `mixpanel`, Mixpanel's own server library: every call of it, through both consumers."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import mixpanel
import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.clients.conftest import PROJECT, ROBOT

Client = mixpanel.Mixpanel
HOUR_AGO = int(time.time()) - 3600
LONG_AGO = 1_600_000_000


@pytest.fixture(params=["Consumer", "BufferedConsumer"])
def consumer(
    request: pytest.FixtureRequest, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Any:
    # `alias` makes a consumer of its own, for Mixpanel's host.
    host = emulator.url.removeprefix("https://")
    options = {"api_host": host, "verify_cert": emulator.certificate, "retry_limit": 0}
    made = getattr(mixpanel, request.param)(**options)
    monkeypatch.setattr(mixpanel, "Consumer", partial(mixpanel.Consumer, **options))
    return made


@pytest.fixture
def client(consumer: Any, emulator: Emulator) -> Client:
    return Client(emulator.project_token, consumer=consumer)


def _flush(client: Client) -> None:
    if hasattr(client._consumer, "flush"):
        client._consumer.flush()


def test_track(client: Client, emulator: Emulator) -> None:
    client.track("u", "Signed Up", {"plan": "free"})
    _flush(client)
    (event,) = emulator.events()
    assert event["event"] == "Signed Up"
    assert event["properties"].items() >= {"distinct_id": "u", "plan": "free"}.items()
    assert emulator.requests()[0]["geo"] is None, "the library sends ip=0"


def test_a_buffer_full_of_events(client: Client, emulator: Emulator) -> None:
    for number in range(120):
        client.track(f"u{number}", "Tick")
    _flush(client)
    assert emulator.stats()["events_distinct"] == 120


def test_import_with_the_api_secret(client: Client, emulator: Emulator) -> None:
    client.import_data(None, "u", "Old", LONG_AGO, {"n": 1}, api_secret=emulator.api_secret)
    _flush(client)
    (event,) = emulator.events()
    assert event["properties"]["time"] == LONG_AGO


def test_import_with_a_service_account(client: Client, emulator: Emulator) -> None:
    credentials = mixpanel.ServiceAccountCredentials(*ROBOT, str(PROJECT))
    getattr(client._consumer, "_consumer", client._consumer)._credentials = credentials
    client.import_data(None, "u", "Old", LONG_AGO)
    _flush(client)
    assert emulator.stats()["events_distinct"] == 1


def test_alias(client: Client, emulator: Emulator) -> None:
    client.track("old", "Before")
    client.alias("new", "old")
    client.track("new", "After")
    _flush(client)
    user = emulator.user("new")
    assert user["distinct_id"] == "old"
    assert sorted(user["ids"]) == ["new", "old"]
    assert user["events_count"] == 3


def test_merge(client: Client, emulator: Emulator) -> None:
    client.track("one", "A")
    client.track("two", "B")
    client.merge(None, "one", "two", api_secret=emulator.api_secret)
    _flush(client)
    user = emulator.user("two")
    assert (user["distinct_id"], user["ids"], user["events_count"]) == ("one", ["one", "two"], 3)


def _made(client: Client, call: Callable[[Client], None]) -> None:
    call(client)
    _flush(client)


class Call(NamedTuple):
    """Calls for one profile, and the properties that they leave (None: no profile)."""

    name: str
    make: Callable[[Client], None]
    leaves: dict[str, Any] | None


def _then(*calls: tuple[str, Any]) -> Callable[[Client], None]:
    def make(client: Client) -> None:
        for method, *arguments in calls:
            getattr(client, method)("u", *arguments)

    return make


def _group(*calls: tuple[str, Any]) -> Callable[[Client], None]:
    def make(client: Client) -> None:
        for method, *arguments in calls:
            getattr(client, method)("company", "acme", *arguments)

    return make


PEOPLE = [
    Call("people_set", _then(("people_set", {"a": 1}), ("people_set", {"a": 2})), {"a": 2}),
    Call(
        "people_set_once",
        _then(("people_set_once", {"a": 1}), ("people_set_once", {"a": 2, "b": 3})),
        {"a": 1, "b": 3},
    ),
    Call(
        "people_increment",
        _then(("people_increment", {"n": 2}), ("people_increment", {"n": -0.5, "m": 1})),
        {"n": 1.5, "m": 1},
    ),
    Call(
        "people_append",
        _then(("people_append", {"l": "x"}), ("people_append", {"l": "x"})),
        {"l": ["x", "x"]},
    ),
    Call(
        "people_union",
        _then(("people_union", {"l": ["x", "y"]}), ("people_union", {"l": ["y", "z"]})),
        {"l": ["x", "y", "z"]},
    ),
    Call(
        "people_remove",
        _then(("people_union", {"l": ["x", "y"]}), ("people_remove", {"l": "x"})),
        {"l": ["y"]},
    ),
    Call(
        "people_unset",
        _then(("people_set", {"a": 1, "b": 2}), ("people_unset", ["a", "c"])),
        {"b": 2},
    ),
    Call("people_delete", _then(("people_set", {"a": 1}), ("people_delete",)), None),
    Call(
        "people_track_charge",
        _then(("people_track_charge", 9.5, {"of": "tea"})),
        {"$transactions": [{"of": "tea", "$amount": 9.5}]},
    ),
    Call(
        "people_clear_charges",
        _then(("people_track_charge", 9.5), ("people_set", {"a": 1}), ("people_clear_charges",)),
        {"a": 1},
    ),
    Call(
        "people_update",
        lambda client: client.people_update(
            {"$distinct_id": "u", "$set": {"a": 1}, "$add": {"n": 1}}, meta={"$ip": "9.9.9.9"}
        ),
        {"a": 1, "n": 1},
    ),
]

GROUPS = [
    Call("group_set", _group(("group_set", {"a": 1}), ("group_set", {"a": 2})), {"a": 2}),
    Call(
        "group_set_once",
        _group(("group_set_once", {"a": 1}), ("group_set_once", {"a": 2})),
        {"a": 1},
    ),
    Call(
        "group_union",
        _group(("group_union", {"l": ["x"]}), ("group_union", {"l": ["x", "y"]})),
        {"l": ["x", "y"]},
    ),
    Call(
        "group_remove",
        _group(("group_union", {"l": ["x", "y"]}), ("group_remove", {"l": "y"})),
        {"l": ["x"]},
    ),
    Call("group_unset", _group(("group_set", {"a": 1, "b": 2}), ("group_unset", ["a"])), {"b": 2}),
    Call("group_delete", _group(("group_set", {"a": 1}), ("group_delete",)), None),
    Call(
        "group_update",
        lambda client: client.group_update(
            {"$group_key": "company", "$group_id": "acme", "$set": {"a": 1}}
        ),
        {"a": 1},
    ),
]


@pytest.mark.parametrize("call", PEOPLE, ids=lambda call: call.name)
def test_people(client: Client, emulator: Emulator, call: Call) -> None:
    call.make(client)
    _flush(client)
    shown = emulator.profile("u")
    got = shown["properties"]
    if got:
        for charge in got.get("$transactions", []):
            charge.pop("$time", None)
    assert got == call.leaves
    assert shown["operations"]
    listed = emulator.profiles()
    assert len(listed) == (0 if call.leaves is None else 1)


@pytest.mark.parametrize("call", GROUPS, ids=lambda call: call.name)
def test_groups(client: Client, emulator: Emulator, call: Call) -> None:
    call.make(client)
    _flush(client)
    assert emulator.group("company", "acme")["properties"] == call.leaves
    assert len(emulator.groups()) == (0 if call.leaves is None else 1)


def test_every_call_of_the_library_is_here() -> None:
    names = {name for name in vars(Client) if name.startswith(("people_", "group_"))}
    assert names == {call.name for call in PEOPLE + GROUPS}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda client: client.track("u", "Old", {"time": LONG_AGO}),
        lambda client: client.track("u", ""),
        lambda client: client.people_increment("u", {"n": "many"}),
        lambda client: client.people_union("u", {"l": "x"}),
        lambda client: client.people_unset("u", {"a": 1}),
        lambda client: client.people_update({"$distinct_id": "u"}),
        lambda client: client.group_set("", "", {"a": 1}),
        lambda client: client.import_data(None, "u", "Old", LONG_AGO, api_secret="wrong"),
        lambda client: client.import_data(None, "u", "Old", LONG_AGO),
    ],
)
def test_the_library_is_told_of_mistakes(client: Client, emulator: Emulator, wrong: Any) -> None:
    with pytest.raises(mixpanel.MixpanelException):
        _made(client, wrong)
    assert emulator.events() == []
    assert emulator.profiles() == emulator.groups() == []


def test_a_wrong_token(consumer: Any, emulator: Emulator) -> None:
    client = Client("bogus", consumer=consumer)
    with pytest.raises(mixpanel.MixpanelException, match="Invalid token"):
        _made(client, lambda client: client.track("u", "A"))
    assert emulator.events() == []


def test_an_untrusted_certificate(emulator: Emulator) -> None:
    host = emulator.url.removeprefix("https://")
    client = Client("t", consumer=mixpanel.Consumer(api_host=host, retry_limit=0))
    with pytest.raises(mixpanel.MixpanelException, match="certificate"):
        client.track("u", "A", {"time": HOUR_AGO})
