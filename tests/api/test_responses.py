"""Every response has one class, whatever Mixpanel or something in between answers."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.api.endpoints import ENGAGE, GROUPS
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import (
    ProjectRefused,
    RequestContext,
    ResponseClass,
    Retry,
    Settled,
    TooLarge,
    Unclear,
    classify,
)
from mixpanel_sink.api.transport import Response
from mixpanel_sink.errors import AuthenticationError, DestinationError

NOW = 1_700_000_000.0
US = Destination.of("us")
_KEYS = st.sampled_from(
    ["status", "error", "code", "failed_records", "index", "insert_id", "$insert_id", "field",
     "message", "num_records_imported", "num_good_events"]
)  # fmt: skip
IDS = ["id-a-0000000000000000", "id-b-0000000000000000", "id-c-0000000000000000"]


def found(*given: Any, **more: Any) -> ResponseClass:
    """The class; the error of a project that is refused is raised."""
    got = classify(*given, **more)
    if isinstance(got, ProjectRefused):
        raise got.error
    return got


def read(
    status: int, body: Any, headers: dict[str, str] | None = None, ids: list[str] = IDS
) -> ResponseClass:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return found(Response(status, headers or {}, raw), ids, RequestContext(US, "API secret"), NOW)


@pytest.mark.parametrize(
    "body",
    [
        {"status": 1, "error": None},
        {"status": 1},
        {"code": 200, "num_records_imported": 3, "status": "OK"},
        {"code": 200, "num_records_imported": "3", "status": "OK"},
        {"code": 200, "num_records_imported": 3, "status": "OK", "failed_records": []},
        {"num_records_imported": 3},
        b"1",
        b'"1"',
        b" 1\n",
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_success(body: Any, status: int) -> None:
    assert read(status, body) == Settled()


@pytest.mark.parametrize(
    ("body", "again"),
    [
        ({"status": 0, "error": "some trouble"}, False),
        ({"status": False, "error": None}, False),
        ({"code": 400, "error": "some trouble"}, False),
        ({"code": 200, "status": "OK", "error": "some trouble"}, False),
        (b"0", False),
        ({"code": 200, "num_records_imported": 2, "status": "OK"}, True),
        ({"code": 200, "num_records_imported": "2", "status": "OK"}, True),
        ({"code": 200, "num_records_imported": 0, "status": "OK"}, True),
        ({"code": 200, "num_records_imported": 4, "status": "OK"}, True),
        ({"code": 200, "num_records_imported": "many", "status": "OK"}, True),
        ({"status": 1, "error": None, "num_records_imported": 2}, True),
    ],
)
def test_a_200_that_is_no_success_for_all(body: Any, again: bool) -> None:
    got = read(200, body)
    assert isinstance(got, Unclear)
    assert got.again is again
    assert not got.refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>OK, probably</html>",
        b'{"code":200,"num_records_impor',
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 50_000,
        b'"' + b"x" * 1_000_000 + b'"',
    ],
)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_200_that_is_not_mixpanels_is_tried_again(body: bytes, status: int) -> None:
    got = found(Response(status, {}, body), IDS, RequestContext(US, "API secret"), NOW, proven=True)
    assert isinstance(got, Retry)
    assert not got.throttled
    assert len(got.why) < 400


def record(index: Any = None, insert_id: Any = None, **more: Any) -> dict[str, Any]:
    given = {"index": index, "insert_id": insert_id, "field": "properties.time", "message": "bad"}
    return {k: v for k, v in {**given, **more}.items() if v is not None}


@pytest.mark.parametrize("status", [200, 202, 400, 422])
@pytest.mark.parametrize(
    ("records", "refused"),
    [
        ([record(1, IDS[1])], {1}),
        ([record(1)], {1}),
        ([record(insert_id=IDS[2])], {2}),
        ([{"$insert_id": IDS[0], "message": "bad"}], {0}),
        ([record(0), record(2, IDS[2])], {0, 2}),
        ([record(0), record(1), record(2)], {0, 1, 2}),
        ([f"event {IDS[1]} has a bad time"], {1}),
        (["record 2: properties.time: too old"], {2}),
        (["invalid event at index 0"], {0}),
        ([json.dumps(record(1, IDS[1]))], {1}),
    ],
)
@pytest.mark.parametrize("counted", [True, False])
def test_named_records_are_refused_and_the_others_are_in(
    status: int, records: list[Any], refused: set[int], counted: bool
) -> None:
    body: dict[str, Any] = {"code": status, "error": "some failed", "failed_records": records}
    if counted:
        body["num_records_imported"] = 3 - len(refused)
    got = read(status, body)
    assert isinstance(got, Settled)
    assert set(got.refused) == refused


@pytest.mark.parametrize("status", [200, 201, 400, 422])
def test_what_is_unclear_is_told_with_its_status(status: int) -> None:
    got = read(status, {"failed_records": [record(7)], "num_records_imported": 2})
    assert isinstance(got, Unclear)
    assert got.why.startswith(f"{status} whose failed_records do not fit the batch")


def test_the_reason_is_kept() -> None:
    got = read(400, {"failed_records": [record(1, IDS[1])], "num_records_imported": 2})
    assert isinstance(got, Settled)
    assert (got.refused[1].field, got.refused[1].message) == ("properties.time", "bad")


@pytest.mark.parametrize(
    ("records", "imported", "named"),
    [
        # all or nothing: the others did not get in
        ([record(1)], 0, {1}),
        # one of the two bad ones is not named
        ([record(1)], 1, {1}),
        # repeated, and no count: the second may stand for another event
        ([record(1), record(1)], None, {1}),
        ([record(1), record(1)], 1, {1}),
        # out of range, wrong types, unknown ids
        ([record(3)], 2, set()),
        ([record(-1)], None, set()),
        ([record(True)], 2, set()),
        ([record(0.5)], None, set()),
        ([record("1")], 2, set()),
        ([record(1, "not-one-of-these-0000")], 2, set()),
        ([None, 7, [], "something is wrong"], None, set()),
        ([record(0), "something is wrong"], 1, {0}),
        # the counts contradict each other
        ([record(0)], 3, {0}),
        ([record(0)], "x", {0}),
    ],
)
def test_failed_records_that_do_not_add_up(
    records: list[Any], imported: Any, named: set[int]
) -> None:
    body: dict[str, Any] = {"failed_records": records}
    if imported is not None:
        body["num_records_imported"] = imported
    got = read(400, body)
    assert isinstance(got, Unclear)
    assert set(got.refused) == named
    assert got.again is not bool(named)  # nothing learnt: perhaps a passing fault


def test_index_and_id_that_contradict_each_other_are_asked_again() -> None:
    got = read(400, {"failed_records": [record(0, IDS[2])], "num_records_imported": 2})
    assert isinstance(got, Unclear)
    assert got.again
    assert set(got.refused) == {2}


def test_a_repeated_record_settles_when_the_count_agrees() -> None:
    got = read(400, {"failed_records": [record(1), record(1)], "num_records_imported": 2})
    assert isinstance(got, Settled)
    assert set(got.refused) == {1}


def test_ids_that_look_like_words_or_numbers_are_not_found_in_a_message() -> None:
    ids = ["event", "1", "bad"]
    got = read(400, {"failed_records": ["event 1 is bad"]}, ids=ids)
    assert isinstance(got, Settled)
    assert set(got.refused) == {1}
    got = read(400, {"failed_records": ["bad"], "num_records_imported": 2}, ids=ids)
    assert isinstance(got, Unclear)
    assert not got.refused


def test_equal_ids_within_a_batch_name_nobody_without_an_index() -> None:
    same = [IDS[0], IDS[0], IDS[1]]
    got = read(400, {"failed_records": [record(insert_id=IDS[0])]}, ids=same)
    assert isinstance(got, Unclear)
    got = read(400, {"failed_records": [record(1, IDS[0])]}, ids=same)
    assert isinstance(got, Settled)
    assert set(got.refused) == {1}


@pytest.mark.parametrize("body", [{"error": "bad batch"}, {"failed_records": None}, b"", b"oops"])
def test_a_400_that_names_nobody(body: Any) -> None:
    got = read(400, body)
    assert isinstance(got, Unclear)
    assert not got.refused


def test_413() -> None:
    assert isinstance(read(413, {"error": "exceeds 2097152 bytes"}), TooLarge)


@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("7", 7.0),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (None, None),
        ("3600", 3600.0),
        ("-1", None),
        ("tomorrow", None),
    ],
)
def test_429(header: str | None, after: float | None) -> None:
    headers = {} if header is None else {"retry-after": header}
    got = read(429, {"error": "Project exceeded rate limits"}, headers)
    assert got == Retry(
        "429: Project exceeded rate limits", throttled=True, after=after, unsure=False
    )


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 529])
def test_server_errors_are_tried_again(status: int) -> None:
    got = read(status, b"<html>bad\x00 gateway</html>", {"retry-after": "4"})
    assert isinstance(got, Retry)
    assert not got.throttled
    assert got.after == 4
    assert got.why == f"{status}: <html>bad gateway</html>"


def test_no_answer_is_tried_again() -> None:
    got = found(
        Response(0, error="the connection broke"), IDS, RequestContext(US, "API secret"), NOW
    )
    assert got == Retry("the connection broke")


BOGUS: list[Any] = [
    {"index": 0, "field": "$token", "message": "Invalid token"},
    {"index": 1, "insert_id": "", "field": "$token", "message": "'$token' is unknown"},
]


def updates(records: list[Any], sent: int = 2) -> ResponseClass:
    body = {"code": 400, "error": "some", "failed_records": records, "num_good_events": 0}
    answer = Response(400, {}, json.dumps(body).encode())
    return found(answer, [""] * sent, RequestContext(US, "project token", ENGAGE), NOW)


@pytest.mark.parametrize(
    "records",
    [
        [BOGUS[0], {"index": 1, "field": "$add", "message": "must be numbers"}],
        [{"index": n, "field": "$set", "message": "invalid token in it"} for n in range(2)],
        [{"index": n, "field": "secret", "message": "is invalid"} for n in range(2)],
    ],
)
def test_other_refusals_are_the_records(records: list[Any]) -> None:
    got = updates(records)
    assert isinstance(got, Settled)
    assert set(got.refused) == {0, 1}


@pytest.mark.parametrize("count", ["num_good_events", "num_records_imported"])
def test_both_names_of_the_count(count: str) -> None:
    def counted(good: int) -> ResponseClass:
        body = json.dumps({"code": 200, count: good, "status": "OK"}).encode()
        return found(
            Response(200, {}, body), ["", ""], RequestContext(US, "project token", ENGAGE), NOW
        )

    assert counted(2) == Settled()
    got = counted(1)
    assert isinstance(got, Unclear)
    assert "imported 1 of 2 updates" in got.why


@pytest.mark.parametrize(
    ("answer", "unsure"),
    [
        (Response(0, error="the connection was refused", reached_server=False), False),
        (Response(0, error="the connection broke"), True),
        (Response(500), True),
        (Response(503), True),
        (Response(429), False),
        (Response(200, {}, b"<html>"), True),
    ],
)
def test_whether_the_records_may_be_in(answer: Response, unsure: bool) -> None:
    got = found(answer, [""], RequestContext(US, "project token", ENGAGE), NOW)
    assert isinstance(got, Retry)
    assert got.unsure is unsure


def test_the_endpoint_is_named() -> None:
    context = RequestContext(US, "project token", GROUPS)
    with pytest.raises(DestinationError, match="has no /groups"):
        found(Response(404), [""], context, NOW)
    with pytest.raises(DestinationError, match="This concerns the project and not single upd"):
        found(Response(418), [""], context, NOW)


_DEEP = b"[" * 1000 + b"]" * 1000
ODD_ANSWERS = {
    "a deep error": b'{"error":' + _DEEP + b"}",
    "a deep field": b'{"failed_records":[{"index":0,"field":' + _DEEP + b"}]}",
    "a deep message": b'{"failed_records":[{"index":0,"message":' + _DEEP + b"}]}",
    "deeper than any parser goes": b"[" * 100_000,
    "an index of 5000 digits": b'{"failed_records":["record ' + b"1" * 5000 + b'"]}',
    "a count of 5000 digits": b'{"status":1,"num_records_imported":"' + b"1" * 5000 + b'"}',
    "lists where numbers belong": b'{"status":[1],"code":{},"num_records_imported":[2]}',
    "an index that is a list": b'{"failed_records":[{"index":[0],"$insert_id":{}}]}',
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("status", [200, 400, 401, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_any_response_has_a_class(name: str, status: int) -> None:
    if status == 401:
        with pytest.raises(AuthenticationError) as caught:
            read(status, ODD_ANSWERS[name])
        assert len(str(caught.value)) < 1000
    else:
        assert isinstance(read(status, ODD_ANSWERS[name]), ResponseClass)


@given(
    st.sampled_from([200, 400, 422, 429, 500]),
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 4) | st.text() | st.sampled_from(IDS),
        lambda value: st.lists(value) | st.dictionaries(_KEYS, value),
        max_leaves=20,
    ),
)
def test_any_json_has_a_class(status: int, body: Any) -> None:
    try:
        found = read(status, body)
    except AuthenticationError:
        return
    assert isinstance(found, ResponseClass)
    refused = getattr(found, "refused", {})
    assert set(refused) <= set(range(len(IDS)))


@pytest.mark.parametrize("status", [200, 400])
def test_a_message_is_kept_short(status: int) -> None:
    body = {"failed_records": [{"index": 0, "message": "x" * 1_000_000}]}
    found = read(status, body)
    assert isinstance(found, Settled)
    assert len(found.refused[0].message) == 2000


@pytest.mark.parametrize("status", [404, 405])
def test_a_404_of_a_proven_endpoint_is_a_passing_fault(status: int) -> None:
    context = RequestContext(US, "API secret")
    assert isinstance(found(Response(status, {}, b"no"), IDS, context, NOW, proven=True), Retry)


def test_an_informational_response_is_tried_again() -> None:
    assert isinstance(read(103, b""), Retry)
