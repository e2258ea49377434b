"""Settings of a wrong kind are refused when a transform is made, with what to give instead."""

from __future__ import annotations

import datetime
import decimal
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mixpanel_sink as mp
from mixpanel_sink.errors import SettingError, kind_of
from mixpanel_sink.settings.options import Settings

SECRET = mp.ApiSecret("env:SECRET")
MAPPING = mp.EventMapping(event="name", time="at", distinct_id="user")


def write(**given: Any) -> Any:
    return mp.WriteToMixpanel(MAPPING, **{"credentials": SECRET, **given})


def table(**given: Any) -> Any:
    return mp.ReplaceLookupTable(**{"id": "songs", "credentials": SECRET, **given})


def mapping(**given: Any) -> Any:
    return mp.EventMapping(**{"event": "name", "time": "at", "distinct_id": "user", **given})


def test_scalars_of_other_libraries_are_what_they_hold() -> None:
    """NumPy's and decimals, such as a data frame or a database gives them."""
    number = decimal.Decimal
    for other, own in (
        (mp.Rate(np.int64(60), number(3600)), mp.Rate(60, 3600)),
        (mp.Limits(batch_events=number("100"), max_age_seconds=np.float32(1.5)),
         mp.Limits(batch_events=100, max_age_seconds=1.5)),
        (mp.RetryPolicy(breaker=np.int8(2), first_wait=number("2.5")),
         mp.RetryPolicy(breaker=2, first_wait=2.5)),
        (mp.Sample(np.str_("user"), np.int64(10)), mp.Sample("user", 10)),
        (mp.Project(SECRET, np.str_("eu"), allow_http=np.array(True)),
         mp.Project(SECRET, "eu", allow_http=True)),
        (mp.Checkpoint(np.str_("/c")), mp.Checkpoint("/c")),
    ):  # fmt: skip
        assert repr(other) == repr(own)
    write(
        lanes=number(2),
        max_in_flight=np.uint8(3),
        max_latency=number("0.5"),
        region=np.str_("eu"),
        allow_http=np.bool_(False),
        check_accounting=np.bool_(True),
        accepted=np.bool_(True),
    )
    texts = {"lanes": np.int64(2), "allow_http": np.bool_(True), "region": np.str_("eu")}
    own = {"lanes": 2, "allow_http": True, "region": "eu"}
    assert repr(Settings.of(texts, "rows")) == repr(Settings.of(own, "rows"))
    for wrong in (number("2.5"), number("NaN"), number("1e999999"), np.float64(2), np.array([2])):
        with pytest.raises(SettingError, match="it must be a whole number"):
            write(max_in_flight=wrong)


@pytest.mark.parametrize(
    ("make", "given", "says"),
    [
        (write, {"credentials": "hunter2"}, "credentials is a str: give ApiSecret,"),
        (write, {"lanes": "2"}, "lanes is '2'; it must be a whole number"),
        (write, {"lanes": 2.0}, "lanes is 2.0; it must be a whole number"),
        (write, {"max_in_flight": True}, "max_in_flight is True; it must be a whole number"),
        (write, {"max_latency": "10"}, "max_latency is '10'; it must be positive seconds"),
        (write, {"max_latency": float("inf")}, "max_latency is inf; it must be positive seconds"),
        (write, {"max_latency": datetime.timedelta(1)}, "it must be positive seconds"),
        (write, {"retry": 3}, "retry is an int; give a RetryPolicy"),
        (write, {"limits": {}}, "limits is a dict; give a Limits"),
        (write, {"clock": 3}, "clock is an int; give a function"),
        (write, {"accepted": "yes"}, "accepted is 'yes'; give True or False"),
        (write, {"check_accounting": None}, "check_accounting is None; give True or False"),
        (write, {"allow_http": "no"}, "allow_http is 'no'; give True or False"),
        (
            write,
            {"credentials": None, "projects": [mp.Project(SECRET)], "destination": "shop"},
            "projects is a list; give a dict",
        ),
        (table, {"credentials": "hunter2"}, "credentials is a str: give ApiSecret,"),
        (table, {"retry": 3}, "retry is an int; give a RetryPolicy"),
        (table, {"id": 3}, "id is an int; give the table's id as text"),
        (table, {"force": "no"}, "force is 'no'; give True or False"),
        (mp.CheckAccounting, {"on_failure": "raise"}, "on_failure is 'raise'; it is"),
        (mp.Quota, {"rates": "60/hour"}, "rates is a str; give a tuple of Rates, or read a text"),
        (mp.Quota, {"rates": [60]}, "A rate is an int; give a Rate"),
        (mp.Quota, {"event_bytes": "1 MB"}, "event_bytes is '1 MB'; it must be a whole number"),
        (mp.Rate, {"amount": "60", "seconds": 1}, "A quota of '60' per 1 s"),
        (mp.RetryPolicy, {"breaker": "3"}, "RetryPolicy.breaker is '3'; it must be a positive"),
        (mp.Limits, {"batch_events": "9"}, "batch_events is '9'; give a whole number"),
        (mp.Limits, {"event_bytes": 0.5}, "event_bytes is 0.5; give a whole number"),
        (mp.Limits, {"max_age_seconds": "9"}, "max_age_seconds is '9'; it must be positive"),
        (mapping, {"event": None}, "event is None; give a column, or {constant: TEXT}"),
        (mapping, {"insert_id": 3}, "insert_id is 3; give a column, a list of columns,"),
        (mapping, {"drop_nulls": "no"}, "drop_nulls is 'no'; give true or false"),
        (mp.ReadParquetTables, {"patterns": 3}, "patterns is an int; give a path or glob"),
        (mp.ReadParquetTables, {"patterns": None}, "patterns is None; give a path or glob"),
        (mp.ReadParquetTables, {"patterns": []}, "patterns is empty; give a path or glob"),
        (mp.ReadParquetTables, {"patterns": ["a", 3]}, "A pattern is an int; give a path"),
        (mp.ReadParquetTables, {"patterns": "a", "columns": "user"}, "columns is 'user'; give a"),
        (mp.ReadAllParquetTables, {"columns": "user"}, "columns is 'user'; give a list"),
        (mp.ReadRecords, {"patterns": "a.csv", "reader": "csv"}, "reader is a str; give Json"),
        (mp.ReadRecords, {"patterns": 3, "reader": mp.CsvRows()}, "patterns is an int"),
        (mp.ReadFailedRecords, {"patterns": None}, "patterns is None; give a path"),
        (mp.ReadFailedRecords, {"patterns": "a", "only": "refused"}, "only is 'refused'; give a"),
        (mp.preview, {"files": 3, "mapping": MAPPING}, "patterns is an int; give a path"),
    ],
)
def test_a_wrong_kind(make: Callable[..., Any], given: dict[str, Any], says: str) -> None:
    with pytest.raises(mp.SettingError) as caught:
        make(**given)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_paths_may_be_objects() -> None:
    read = mp.ReadParquetTables([pathlib.Path("events") / "a.parquet", "b.parquet"])
    assert "events/a.parquet" in read.display_data()["patterns"]


@pytest.mark.parametrize(
    ("value", "said"), [(None, "None"), (3, "an int"), ("a", "a str"), ({}, "a dict")]
)
def test_kinds_in_messages(value: Any, said: str) -> None:
    assert kind_of(value) == said
