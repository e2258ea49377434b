"""Small tables are encoded together, and make the same events as each makes alone."""

import random
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink import EventMapping
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.stages import pack
from mixpanel_sink.stages.local import convert_tables

MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: s}\n"
IDS = {
    "any": "",
    "position": "insert_id: {from: position}\n",
    "salted position": "insert_id: {from: position, salt: again}\n",
    "column": "insert_id: key\n",
    "salted column": "insert_id: {columns: [key], salt: again}\n",
    "content": "insert_id: {from: content}\n",
}


def table(rng: random.Random, file: int, rows: int, first: int, known: bool) -> pa.Table:
    """Rows of a file, of which a few fail and a few need the record encoder."""
    columns: dict[str, Any] = {
        "name": [rng.choice(["Visit", "Buy", None] if rng.random() < 0.02 else ["Visit"])
                 for _ in range(rows)],
        "user": [f"u{rng.randrange(50)}" for _ in range(rows)],
        "at": [rng.choice([1_767_225_600, -5] if rng.random() < 0.02 else [1_767_225_600]) + n
               for n in range(rows)],
        "key": [rng.choice([f"{file}-{n}", "x y"]) if n % 7 else None for n in range(rows)],
        "value": [rng.random() if rng.random() < 0.9 else float("nan") for _ in range(rows)],
    }  # fmt: skip
    if file % 5 == 3:
        columns["more"] = pa.array(["a"] * rows, pa.string())
    if file % 11 == 7:
        columns["value"] = pa.array(["one"] * rows, pa.string()).dictionary_encode()
    made = pa.table(columns)
    origin = TableOrigin(f"folder/{file}.parquet", f"{file:020x}", first)
    return origin.attach(made) if known else made


def results(tables: list[pa.Table], mapping: EventMapping) -> tuple[list[Any], list[int]]:
    """Events with their files and rows, failed records, and the sizes of the requests."""
    events: list[Any] = []
    failed: list[Any] = []
    sizes = []
    for each in convert_tables(tables, mapping, clock=lambda: 1_767_312_000.0):
        if isinstance(each, FailedRecord):
            failed.append((each.reason, each.file or "", each.row, each.insert_id))
            continue
        assert isinstance(each, EventChunk)
        sizes.append(each.count)
        for number, event in enumerate(each.events()):
            place = each.origin(number)
            events.append((place.file, place.row, event))
    return sorted(events) + sorted(failed, key=str), sizes


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("known", [True, False], ids=["files", "no files"])
def test_small_tables_make_the_events_that_each_makes_alone(ids: str, known: bool) -> None:
    mapping = EventMapping.from_yaml(MAPPING + IDS[ids])
    rng = random.Random(f"{ids} {known}")
    tables = []
    for file in range(24):
        first = 0
        for _ in range(rng.choice([1, 1, 3])):
            rows = rng.choice([1, 3, 40, 300])
            tables.append(table(rng, file, rows, first, known))
            first += rows
    alone: list[Any] = []
    for each in tables:
        alone += results([each], mapping)[0]
    together, sizes = results(tables, mapping)
    assert sorted(together, key=str) == sorted(alone, key=str)
    assert sum(sizes) > 2_000 or (ids.endswith("position") and not known)
    assert [size for size in sizes if size < 2_000][1:] == []


def test_many_small_tables_are_encoded_in_a_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = pack.encode_block
    monkeypatch.setattr(
        pack, "encode_block", lambda *given: calls.append(len(given[1])) or encode(*given)
    )
    rng = random.Random(1)
    plain = [table(rng, 1, 100, 100 * n, True) for n in range(250)]
    events, sizes = results(plain, EventMapping.from_yaml(MAPPING))
    assert len(events) == 25_000
    assert len(calls) == 3
    assert sizes[:-1] == [2_000] * (len(sizes) - 1)


def test_one_path_with_two_keys_keeps_both() -> None:
    """A file that was replaced while it was listed: each of its rows keeps its own file's key."""
    rows = pa.table({"name": ["Visit"], "user": ["u"], "at": [1_767_225_600]})
    tables = [TableOrigin("a.parquet", key, 0).attach(rows) for key in ("1" * 20, "2" * 20)]
    found, _ = results(tables, EventMapping.from_yaml(MAPPING))
    for key, (_, _, event) in zip("12", found, strict=True):
        assert (key * 20).encode() in event
