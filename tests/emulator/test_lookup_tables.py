"""Lookup tables: the list, replacing one, and every rule of the reference's page."""

import gzip

import pytest
import requests

ROBOT = ("robot", "robot-secret")
SONGS = b'id,artist,tags\nc1,Drake,"[""pop"",""rap""]"\nd2,"Gipsy\r\nKings",\n'


def _create(api, name: str = "Songs", **more) -> str:
    return str(api.emulator.create_lookup_table(name, **more))


def _put(api, id: str, body: bytes = SONGS, auth=ROBOT, **headers: str) -> requests.Response:
    given = {"Content-Type": "text/csv", **{k.replace("_", "-"): v for k, v in headers.items()}}
    url = f"{api.emulator.url}/lookup-tables/{id}?project_id=42"
    return api.session.put(url, body, auth=auth, headers=given, timeout=60)


def test_list(api) -> None:
    first, second = _create(api, "Accounts"), _create(api, "Products", id="p-1")
    url = f"{api.emulator.url}/lookup-tables?project_id=42"
    answer = api.session.get(url, auth=ROBOT, timeout=10)
    results = [{"id": first, "name": "Accounts"}, {"id": second, "name": "Products"}]
    assert answer.json() == {"code": 200, "status": "OK", "results": results}
    assert second == "p-1"
    for auth in ((api.emulator.api_secret, ""), ("robot", "wrong"), None):
        assert api.session.get(url, auth=auth, timeout=10).status_code == 401


@pytest.mark.parametrize("zipped", [False, True])
def test_replace(api, zipped: bool) -> None:
    id = _create(api)
    body = gzip.compress(SONGS) if zipped else SONGS
    headers = {"Content_Encoding": "gzip"} if zipped else {}
    answer = _put(api, id, body, **headers)
    assert (answer.status_code, answer.json()) == (200, {"code": 200, "status": "OK"})
    (table,) = api.emulator.lookup_tables()
    assert (table["rows"], table["columns"]) == (2, ["id", "artist", "tags"])
    assert (table["name"], table["bytes"]) == ("Songs", len(SONGS))
    assert api.emulator.lookup_table(id) == SONGS.decode()


def test_by_the_project_secret_but_not_by_the_token(api) -> None:
    id = _create(api)
    assert _put(api, id, auth=(api.emulator.api_secret, "")).status_code == 200
    assert _put(api, id, auth=(api.emulator.project_token, "")).status_code == 401


def test_a_table_must_have_been_created(api) -> None:
    answer = _put(api, "f077cb07")
    assert answer.status_code == 404
    assert answer.json()["error"] == "Lookup table with id 'f077cb07' was not found."


@pytest.mark.parametrize(
    ("body", "index", "message"),
    [
        (b"", 0, "header"),
        (b"id,a,a\n1,2,3\n", 0, "unique"),
        (b"id,a\n1,2\n1,3\n", 2, "row indexes 1 and 2 have the same primary key"),
        (b"id,a\n,2\n", 1, "primary key is required"),
        (b"id,a\n1,2,3\n", 1, "wrong number of fields"),
        (b"id,a\n1,2\n2\n", 2, "wrong number of fields"),
        (b'id,a\n1,"2"x\n', 1, 'bare "'),
        (b'id,a\n1,x"2"\n', 1, 'bare "'),
        (b'id,a\n1,x"2\n', 1, 'bare "'),
        (b'id,a\n1,"2\n', 1, 'bare "'),
        (b"id,a\n1,\xff\n", 0, "UTF-8"),
    ],
)
def test_nothing_is_replaced_by_a_wrong_table(api, body: bytes, index: int, message: str) -> None:
    id = _create(api)
    assert _put(api, id).status_code == 200
    answer = _put(api, id, body)
    assert answer.status_code == 400
    said = answer.json()
    assert said["error"] == "some data points in the request failed validation"
    (record,) = said["failed_records"]
    assert record["index"] == index
    assert message in record["message"]
    assert api.emulator.lookup_table(id) == SONGS.decode()


@pytest.mark.parametrize("body", [b'id,a\r\n1,"x ""y"" z"\r\n2,""\r\n', b"id\n1\n2\n", b"id,a\n"])
def test_valid_tables(api, body: bytes) -> None:
    assert _put(api, _create(api), body).status_code == 200


def test_ten_failed_rows_are_named(api) -> None:
    answer = _put(api, _create(api), b"id,a\n" + b"1\n" * 50)
    assert len(answer.json()["failed_records"]) == 10


def test_size(api) -> None:
    id = _create(api)
    body = gzip.compress(b"id,a\n1," + b"x" * (100 * 1024 * 1024), 1)
    answer = _put(api, id, body, Content_Encoding="gzip")
    assert answer.status_code == 413
    assert api.emulator.lookup_table(id) == ""


def test_a_hundred_calls_a_day(api) -> None:
    id = _create(api)
    for _ in range(100):
        assert _put(api, id).status_code == 200
    answer = _put(api, id)
    assert answer.status_code == 429
    assert 86_000 < int(answer.headers["Retry-After"]) <= 86_400
    api.emulator.reset()
    assert _put(api, _create(api)).status_code == 200


def test_faults_by_name(api) -> None:
    id = _create(api)
    api.emulator.faults([{"kind": "status", "status": 503, "path": f"/lookup-tables/{id}"}])
    assert _put(api, id).status_code == 503
    assert _put(api, id).status_code == 200
