"""/track, /engage and /groups: valid requests, tokens, and the shapes of the answers."""

import base64
import json
import time

import pytest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TEXT = {"Content-Type": "application/json", "accept": "text/plain"}


def test_plain_answer(api) -> None:
    answer = api.post("/track", json.dumps([api.event()]), headers=TEXT)
    assert (answer.status_code, answer.text) == (200, "1")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert api.emulator.stats()["events_distinct"] == 1


def test_verbose_answer(api) -> None:
    answer = api.post("/track?verbose=1", json.dumps([api.event()]), headers=TEXT)
    assert answer.json() == {"status": 1, "error": None}


def test_json_without_asking_is_the_pages_way(page, reference) -> None:
    assert page.send([page.event()], path="/track").json() == {"status": 1, "error": None}
    assert reference.send([reference.event()], path="/track").text == "1"


def test_wrong_token(api) -> None:
    body = json.dumps([api.event(token="bogus")])
    said = api.post("/track?verbose=1", body, headers=TEXT).json()
    assert said == {"status": 0, "error": "Invalid token"}
    assert api.post("/track", body, headers=TEXT).text == "1"
    missing = json.dumps([api.event(token=...)])
    assert api.post("/track?verbose=1", missing, headers=TEXT).json()["status"] == 0
    assert api.emulator.stats()["events_distinct"] == 0


@pytest.mark.parametrize("encode", [lambda b: b, lambda b: base64.b64encode(b.encode()).decode()])
@pytest.mark.parametrize("one", [False, True])
def test_form(api, encode, one: bool) -> None:
    event = api.event()
    data = encode(json.dumps(event if one else [event]))
    answer = api.post("/track", {"data": data, "verbose": "1"})
    assert answer.json() == {"status": 1, "error": None}
    assert api.emulator.events() == [event]


@pytest.mark.parametrize("body", ["", "data=%7B", "other=1", "data=***"])
def test_broken_form(api, body: str) -> None:
    answer = api.post("/track?verbose=1", body, headers=FORM)
    assert answer.status_code == 200
    assert answer.json()["status"] == 0
    assert api.post("/track", body, headers=FORM).text == "0"


def test_a_get_is_taken_and_refused_like_a_form(api) -> None:
    def get(data: str, **options: str):
        query = {"data": data, **options}
        return api.session.get(api.emulator.url + "/track/", params=query, timeout=30)

    event = api.event()
    assert get(base64.b64encode(json.dumps(event).encode()).decode()).text == "1"
    assert api.emulator.events() == [event]
    (logged,) = api.emulator.requests()
    assert api.emulator.request(logged["id"])["body"]["records"] == [event]
    broken = get("***")
    assert (broken.status_code, broken.text) == (200, "0")
    assert get("***", verbose="1").json()["status"] == 0


@pytest.mark.parametrize("kind", ["track", "engage", "groups"])
def test_answers_for_web_pages(api, kind: str) -> None:
    good = api.event() if kind == "track" else _update(kind, api.emulator.project_token)
    image = api.send([good], path=f"/{kind}?img=1")
    assert (image.status_code, image.headers["Content-Type"]) == (200, "image/gif")
    assert image.content.startswith(b"GIF89a\x01\x00\x01\x00")
    script = api.send([good], path=f"/{kind}?callback=lib.done", accept="text/plain")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.text == "lib.done(1);"
    said = api.send([], path=f"/{kind}?callback=_f&verbose=1").text
    assert json.loads(said.removeprefix("_f(").removesuffix(");"))["status"] == 0
    assert api.send([good], path=f"/{kind}?callback=a(b)", accept="text/plain").text == "1"


@pytest.mark.parametrize("path", ["/track", "/engage", "/groups"])
@pytest.mark.parametrize("body", [b"{oops", b"", b"[]"])
def test_nothing_valid_in_the_body(api, path: str, body: bytes) -> None:
    answer = api.post(path, body, headers=TEXT)
    assert (answer.status_code, answer.text) == (200, "0")


def test_the_future_is_overwritten_with_now(api) -> None:
    later = api.event(time=int(time.time()) + 86400)
    before = int(time.time())
    assert api.send([later], path="/track?verbose=1").json()["status"] == 1
    (stored,) = api.emulator.events()
    assert before <= stored["properties"]["time"] <= time.time()


def test_only_the_last_five_days(api) -> None:
    old = api.event(time=int(time.time()) - 5 * 86400 - 60)
    young = api.event(time=int(time.time()) - 5 * 86400 + 600)
    said = api.post("/track?verbose=1", json.dumps([old]), headers=TEXT).json()
    assert said["status"] == 0
    assert "/import" in said["error"]
    assert api.post("/track", json.dumps([old]), headers=TEXT).text == "0"
    assert api.post("/track", json.dumps([old, young]), headers=TEXT).text == "1"
    assert api.emulator.events() == [young]


def test_time_and_insert_id_are_optional(api) -> None:
    event = api.event(time=..., **{"$insert_id": ...})
    assert api.send([event, event], path="/track?verbose=1").json()["status"] == 1
    assert api.emulator.stats()["events_distinct"] == 2


def test_batch_limit(api) -> None:
    answer = api.send([api.event()] * 2001, path="/track?verbose=1")
    assert answer.status_code == 413
    assert "2000" in answer.json()["error"]


def _update(kind: str, token: str) -> dict:
    if kind == "engage":
        return {"$token": token, "$distinct_id": "u", "$set": {"plan": "premium"}}
    return {"$token": token, "$group_key": "company", "$group_id": "c", "$set": {"plan": "x"}}


@pytest.mark.parametrize("kind", ["engage", "groups"])
def test_updates(api, kind: str) -> None:
    update = _update(kind, api.emulator.project_token)
    assert api.send([update, update], path=f"/{kind}?verbose=1").json()["status"] == 1
    assert api.send(update, path=f"/{kind}", accept="text/plain").text == "1"
    assert api.emulator.updates(kind) == [update] * 3
    assert api.emulator.stats()[f"{kind}_updates"] == 3


@pytest.mark.parametrize("kind", ["engage", "groups"])
def test_wrong_updates_are_told_only_when_asked(api, kind: str) -> None:
    good = _update(kind, api.emulator.project_token)
    for wrong in (
        _update(kind, "bogus"),
        {**good, "$token": 5},
        {"$token": good["$token"], "$set": {}},
        {k: v for k, v in good.items() if k != "$set"},
        7,
    ):
        said = api.send([wrong], path=f"/{kind}?verbose=1").json()
        assert said["status"] == 0
        assert said["error"]
        assert api.send([wrong], path=f"/{kind}", accept="text/plain").text == "1"
    assert api.emulator.updates(kind) == []


def test_other_methods_and_paths(api) -> None:
    assert api.session.get(api.emulator.url + "/import").status_code == 405
    assert api.session.get(api.emulator.url + "/nowhere").status_code == 404
