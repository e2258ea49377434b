"""What Mixpanel's library for browsers needs: trailing slashes, and answers to other origins."""

import json

import pytest

ORIGIN = "https://shop.example"


@pytest.mark.parametrize("path", ["/import/", "/track/", "/engage/", "/groups/"])
def test_trailing_slashes(api, path: str) -> None:
    update = {"$token": api.emulator.project_token, "$set": {"a": 1}}
    body = {
        "/import/": [api.event()],
        "/track/": [api.event()],
        "/engage/": [{**update, "$distinct_id": "u"}],
        "/groups/": [{**update, "$group_key": "k", "$group_id": "g"}],
    }[path]
    assert api.send(body, path=path).status_code == 200
    (request,) = api.emulator.requests()
    assert (request["path"], request["accepted"]) == (path.rstrip("/"), 1)


@pytest.mark.parametrize("path", ["/track/", "/engage", "/groups/"])
def test_preflight(api, path: str) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-custom",
    }
    answer = api.session.options(api.emulator.url + path, headers=asked, timeout=10)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type, x-custom"
    assert api.emulator.requests() == []


def test_answers_name_the_origin(api) -> None:
    for event in (api.event(), api.event("")):
        answer = api.send([event], path="/track/?verbose=1", Origin=ORIGIN)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Origin" not in api.send([api.event()], path="/track").headers


def test_import_is_not_for_browsers(api) -> None:
    """It takes a secret, which no page may hold."""
    answer = api.send([api.event()], Origin=ORIGIN)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_as_the_library_for_browsers_sends(api) -> None:
    """Its request: a form with JSON in ``data``, to the path with a slash."""
    event = api.event()
    form = {"data": json.dumps([event])}
    answer = api.post("/track/?verbose=1&ip=1&_=1700000000000", form, headers={"Origin": ORIGIN})
    assert answer.json() == {"status": 1, "error": None}
    assert api.emulator.events() == [event]
