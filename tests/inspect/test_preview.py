"""The dry run as a value: against what a real run sends, and against itself."""

from __future__ import annotations

import dataclasses
import decimal
import pathlib
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import EventMapping, Limits, Privacy, Quota, TimeColumn
from mixpanel_sink.inspect.preview import preview, render
from mixpanel_sink.read.file_source import shares
from mixpanel_sink.settings.credentials import MASKED_TOKEN
from mixpanel_sink.settings.quota import PRESETS

MAPPING = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", "ms"))


def shop(path: pathlib.Path, rows: int, first: int = 0, **options: int) -> str:
    table = pa.table(
        {
            "name": [("Order", "View")[i % 2] for i in range(rows)],
            "user": [None if i % 100 == 7 else f"u{i}" for i in range(first, first + rows)],
            "at": [1_704_067_200_000 + i for i in range(first, first + rows)],
        }
    )
    pq.write_table(table, path, **options)
    return str(path)


def test_all_rows(tmp_path) -> None:
    files = [shop(tmp_path / "a.parquet", 4500), shop(tmp_path / "b.parquet", 500, first=4500)]
    found = preview(files, MAPPING, rows=None, quota=Quota.parse("2/hour"))
    assert (found.files, found.rows, found.read, found.whole) == (2, 5000, 5000, True)
    assert found.total == found.looked_at
    assert (found.total.events, found.total.requests) == (4950, 3)
    (failure,) = found.failures
    assert failure[:2] == ("distinct_id_null", 50)
    assert (failure.file, failure.row) == (files[0], 7)
    assert found.seconds == 3600


def test_values_that_would_not_stay_as_they_are_are_counted(tmp_path) -> None:
    digits = [decimal.Decimal("0.12345678901234567890"), decimal.Decimal("0.5"), None]
    table = pa.table(
        {
            "name": ["View"] * 3,
            "user": ["u"] * 3,
            "at": [1_704_067_200_000] * 3,
            "rate": pa.array(digits, pa.decimal128(38, 20)),
            "text": ["x" * 300, "x" * 300, "y"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = preview(str(tmp_path / "a.parquet"), MAPPING)
    altered = {name: count for name, count in found.altered.items() if count}
    altered.pop("old_events", None)
    assert altered == {"long_strings": 2, "rounded_decimals": 1}
    assert re.search(r"strings over 255 bytes +2 ", render(found))
    assert re.search(r"decimals rounded +1 ", render(found))


def test_what_mixpanel_loses_of_good_events_is_counted(tmp_path) -> None:
    """Ids that are no key, a user with too many events in a day, and events that are too old."""
    rows, now = 260_000, 1_750_000_000
    years = [0] * (rows - 30) + [3] * 20 + [6] * 10
    table = pa.table(
        {
            "name": ["View"] * rows,
            "user": ["busy"] * 250_000 + [f"u{i}" for i in range(10_000)],
            "at": [(now - 1000 - age * 365 * 86_400) * 1000 for age in years],
            "order": [f"o{i // 4 if i < 20_000 else i}" for i in range(rows)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    mapping = dataclasses.replace(MAPPING, insert_id="order")
    found = preview(str(tmp_path / "a.parquet"), mapping, rows=None, clock=lambda: now)
    altered = found.altered
    assert altered["repeated_ids"] == pytest.approx(15_000, rel=0.3)
    assert altered["hot_events"] == pytest.approx(50_000, rel=0.1)
    assert (altered["old_events"], altered["old_events_5_years"]) == (30, 10)
    text = render(found)
    assert re.search(r"events with another's id +1\d,\d\d\d +Mixpanel keeps one of each", text)
    assert re.search(r"events of too busy users +[45]\d,\d\d\d +beyond 200,000", text)
    assert re.search(r"over 5 years old +10 ", text)


def test_a_sample_estimates_the_whole(tmp_path) -> None:
    files = [shop(tmp_path / f"{i}.parquet", 20_000, row_group_size=3000) for i in range(3)]
    whole = preview(files, MAPPING, rows=None)
    found = preview(files, MAPPING, rows=6000)
    assert (found.rows, found.read, found.whole) == (60_000, 6000, False)
    assert found.looked_at.events == 5940
    assert found.total.events == whole.total.events
    assert found.total.requests == whole.total.requests == 30
    assert found.total.raw_bytes == pytest.approx(whole.total.raw_bytes, rel=0.02)


def test_the_same_input_gives_the_same_preview(tmp_path) -> None:
    files = [shop(tmp_path / f"{i}.parquet", 20_000, row_group_size=3000) for i in range(3)]
    first = preview(files, MAPPING, rows=5000)
    assert all(preview(files, MAPPING, rows=5000) == first for _ in range(3))


def test_a_sample_larger_than_the_input_is_the_input(tmp_path) -> None:
    files = [shop(tmp_path / "a.parquet", 10), shop(tmp_path / "b.parquet", 3000)]
    found = preview(files, MAPPING)
    assert found.whole
    assert found.read == 3010


def test_more_files_than_a_sample_looks_at(tmp_path) -> None:
    files = [shop(tmp_path / f"{i:03}.parquet", 5, first=i) for i in range(150)]
    assert preview(files, MAPPING, rows=200).read == 200
    assert preview(files, MAPPING, rows=700).read == 700


def test_examples_differ_and_hold_no_secret(tmp_path) -> None:
    found = preview([shop(tmp_path / "a.parquet", 3000)], MAPPING, token=True)
    assert len(found.examples) == 5
    assert [event["event"] for event in found.examples[:2]] == ["Order", "View"]
    for event in found.examples:
        assert event["properties"]["token"] == MASKED_TOKEN
        assert event["properties"]["ip"] == "0"


def test_requests_that_the_bytes_limit(tmp_path) -> None:
    limits = Limits(batch_bytes=20_000, event_bytes=1000)
    path = shop(tmp_path / "a.parquet", 10_000)
    whole = preview([path], MAPPING, rows=None, limits=limits)
    assert whole.total.requests > 50
    for rows in (50, 3000):
        found = preview([path], MAPPING, rows=rows, limits=limits)
        assert found.total.requests == pytest.approx(whole.total.requests, rel=0.1)


def test_privacy_needs_no_key(tmp_path) -> None:
    privacy = Privacy(hash=["user"], key="env:NOT_SET_ANYWHERE")
    found = preview([shop(tmp_path / "a.parquet", 30)], MAPPING, privacy=privacy)
    assert all(len(event["properties"]["distinct_id"]) == 32 for event in found.examples)


def test_unreadable_files(tmp_path) -> None:
    good = shop(tmp_path / "a.parquet", 10)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    path = tmp_path / "c.parquet"
    shop(path, 2000, compression="zstd")
    content = bytearray(path.read_bytes())
    content[50:600] = b"\x00" * 550
    path.write_bytes(bytes(content))
    found = preview([good, str(tmp_path / "b.parquet"), str(path)], MAPPING)
    assert found.files_unreadable == 2
    assert found.looked_at.events == 9
    assert "files not readable" in render(found)


def test_no_rows(tmp_path) -> None:
    found = preview([shop(tmp_path / "a.parquet", 0)], MAPPING)
    assert found.whole
    assert dataclasses.astuple(found.total) == (0, 0, 0, 0)
    assert "The input has no records; an import would send nothing." in render(found)


@pytest.mark.parametrize(
    ("quota", "said"),
    [
        ("60/hour", "no waiting"),
        ("2/hour", "at least 4 h 0 min"),
        ("1/day", "at least 9 d 0 h"),
        ("10/minute", "no waiting"),
        ("5/minute", "at least 1 min 0 s"),
        ("1000 events/hour", "at least 19 h 0 min"),
        ("none", "no waiting"),
    ],
)
def test_the_time_that_the_quota_needs(tmp_path, quota: str, said: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"name": ["e"] * 20_000, "user": ["u"] * 20_000, "at": [10**12] * 20_000})
    pq.write_table(table, path)
    text = render(preview([str(path)], MAPPING, rows=None, quota=Quota.parse(quota)))
    assert f"the quota of {Quota.parse(quota)} needs {said}\n" in text + "\n"


def test_both_published_limits_and_how_to_choose(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shop(tmp_path / "a.parquet", 10_000)
    found = dataclasses.replace(
        preview([path], MAPPING), published={"page": 6 * 86_400.0, "reference": 120.0}
    )
    text = render(found)
    assert "ask its support which one your project has" in text
    assert re.search(r"--quota page +at least 6 d 0 h +60/hour", text)
    assert re.search(r"--quota reference +at least 2 min 0 s +1800000 events/minute, 2 GB/m", text)
    assert "keep the slower one" in text
    monkeypatch.setitem(PRESETS, "growth", Quota.parse("1/hour"))
    found = preview([path], MAPPING, rows=None)
    assert found.published == {"page": 0.0, "reference": 0.0, "growth": 4 * 3600.0}
    assert re.search(r"--quota growth +at least 4 h 0 min +1/hour", render(found))
    monkeypatch.delitem(PRESETS, "growth")
    assert "ask its support" not in render(preview([path], MAPPING, rows=10))


@pytest.mark.parametrize(
    ("total", "sizes", "expected"),
    [
        (10, [5, 5, 5], [3, 3, 4]),
        (10, [1, 100, 2], [1, 7, 2]),
        (10, [1, 1], [1, 1]),
        (0, [3], [0]),
        (5, [], []),
    ],
)
def test_shares(total: int, sizes: list[int], expected: list[int]) -> None:
    found = shares(total, sizes)
    assert sorted(found) == sorted(expected)
    assert all(share <= size for share, size in zip(found, sizes, strict=True))
