"""Chunks: cut, merged and carried without losing an event, its order or its origin."""

import dataclasses
import gzip
import itertools
import json
import zlib

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.builder import ChunkBuilder, merge
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run, cut_runs, join_runs

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SMALL = Limits(batch_events=7, batch_bytes=200, event_bytes=100)


@st.composite
def chunks(draw: st.DrawFn, least: int = 1, most: int = 7) -> EventChunk:
    runs = draw(
        st.lists(
            st.builds(
                Run,
                st.integers(1, 3),
                st.sampled_from([0, -(2**60), 5]),
                st.sampled_from([(), ("w",), ("w", "é")]),
                st.sampled_from(["", "a.parquet", "ü/b"]),
                st.sampled_from([-1, 0, 3, 10**12]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    count = draw(st.integers(least, most))
    runs = list(cut_runs([*runs, Run(count, 0, ())], 0, count))
    texts = draw(st.lists(TEXTS, min_size=count, max_size=count))
    return EventChunk.of([orjson.dumps({"event": text}) for text in texts], runs)


def _origins(chunk: EventChunk) -> list[Run]:
    return [chunk.origin(i) for i in range(chunk.count)]


def _flat(*some: EventChunk) -> list[tuple[bytes, Run]]:
    """Every event with its origin, after checking that each chunk is sound."""
    for chunk in some:
        raw = gzip.decompress(chunk.payload)
        assert len(raw) == chunk.raw_bytes
        assert json.loads(raw) == [json.loads(event) for event in chunk.events()]
        assert chunk.count == len(chunk.events()) == sum(run.count for run in chunk.runs)
    return [pair for c in some for pair in zip(c.events(), _origins(c), strict=True)]


@given(chunks())
def test_bytes_round_trip(chunk: EventChunk) -> None:
    assert EventChunk.from_bytes(chunk.to_bytes()) == chunk
    assert EventChunk.from_bytes(chunk.to_bytes()).identity() == chunk.identity()


@pytest.mark.parametrize("data", [b"", b"MX", b"XXXX0000", b"MXC0\0\0\0\0"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an EventChunk"):
        EventChunk.from_bytes(data)


@given(chunks())
def test_payload_is_one_gzip_member(chunk: EventChunk) -> None:
    member = zlib.decompressobj(wbits=31)
    member.decompress(chunk.payload)
    assert member.eof
    assert member.unused_data == b""


@given(chunks())
def test_lines_and_events_make_the_same_array(chunk: EventChunk) -> None:
    lines = memoryview(b"".join(b"\n," + event for event in chunk.events()))
    half = max(2, len(lines) // 2)
    other = EventChunk.of_lines([lines[:half], lines[half:]], chunk.count, chunk.runs)
    assert _flat(other) == _flat(chunk)
    assert other.raw_bytes == chunk.raw_bytes


@given(chunks(least=2))
def test_halves(chunk: EventChunk) -> None:
    first, second = chunk.halves()
    assert first.count
    assert second.count
    assert _flat(first, second) == _flat(chunk)


def test_halves_are_about_equal_in_bytes() -> None:
    events = [b'"' + b"x" * 1000 + b'"', *[b'"y"'] * 100]
    first, second = EventChunk.of(events, [Run(101, 0, ())]).halves()
    assert (first.count, second.count) == (1, 100)


@given(st.data(), chunks())
def test_select(data: st.DataObject, chunk: EventChunk) -> None:
    places = data.draw(st.lists(st.integers(0, chunk.count - 1), unique=True))
    everything = _flat(chunk)
    assert _flat(chunk.select(places)) == [everything[i] for i in places]


@given(st.lists(chunks(), max_size=6))
@settings(deadline=None)
def test_merge_keeps_everything_within_the_limits(some: list[EventChunk]) -> None:
    full, rest = merge(some, SMALL)
    assert _flat(*full, *rest) == _flat(*some)
    assert len(rest) <= 1
    for chunk in [*full, *rest]:
        assert 1 <= chunk.count <= SMALL.batch_events
        assert chunk.raw_bytes <= SMALL.batch_bytes
    assert all(chunk.count < SMALL.batch_events for chunk in rest)
    everything = [*full, *rest]
    for chunk, after in itertools.pairwise(everything):
        room = SMALL.batch_bytes - chunk.raw_bytes
        assert chunk.count == SMALL.batch_events or len(after.events()[0]) + 2 > room


def test_batch_bytes_are_used_to_the_last() -> None:
    limits = Limits(batch_events=2000, batch_bytes=len(b"[1234567\n,1234567\n]"), event_bytes=10)
    builder = ChunkBuilder(limits)
    made = [builder.add(b"1234567", Run(1, 0, ())) for _ in range(4)]
    chunk = next(chunk for chunk in made if chunk is not None)
    assert chunk.count == 2
    assert chunk.raw_bytes == limits.batch_bytes


def test_an_event_of_full_size_goes_alone() -> None:
    limits = Limits(batch_bytes=104, event_bytes=100)
    chunk = EventChunk.of([b"1" * 100], [Run(1, 0, ())])
    full, rest = merge([chunk, chunk], limits)
    assert [made.count for made in [*full, *rest]] == [1, 1]
    assert all(made.raw_bytes <= 104 for made in [*full, *rest])


@given(chunks(), st.data())
def test_cut_runs(chunk: EventChunk, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, chunk.count))
    stop = data.draw(st.integers(start, chunk.count))
    cut = list(cut_runs(chunk.runs, start, stop))
    singles = [run.slice(i, 1) for run in cut for i in range(run.count)]
    assert singles == _origins(chunk)[start:stop]


def test_neighbouring_runs_join_only_if_they_continue() -> None:
    run = Run(2, 5, ("w",), "f", 10)
    assert join_runs([run, run._replace(row=12)]) == (run._replace(count=4),)
    for other in (
        run._replace(row=13),
        run._replace(row=-1),
        run._replace(row=12, file="g"),
        run._replace(row=12, timestamp=6),
        run._replace(row=12, windows=()),
    ):
        assert join_runs([run, other]) == (run, other)
    unknown = Run(1, 5, ("w",), "f")
    assert join_runs([unknown, unknown]) == (unknown._replace(count=2),)
    for row in (0, 10):
        known = run._replace(row=row)
        assert join_runs([unknown, known]) == (unknown, known)


def test_origin_beyond_the_end() -> None:
    with pytest.raises(IndexError, match="1 events"):
        EventChunk.of([b"1"], [Run(1, 0, ())]).origin(1)


def test_line_separators_inside_events_survive() -> None:
    texts = ["\u2028", "\u2029", "\x85", "\x0b", "\r", "\n,", "\n]", "[", "]"]
    events = [orjson.dumps({"event": text}) for text in texts]
    chunk = EventChunk.of(events, [Run(len(events), 0, ())])
    assert EventChunk.from_bytes(chunk.to_bytes()).events() == events
    assert [event["event"] for event in json.loads(gzip.decompress(chunk.payload))] == texts


def test_identity_is_that_of_the_content() -> None:
    one = EventChunk.of([b"1"], [Run(1, 0, ())])
    assert one.identity() == EventChunk.of([b"1"], [Run(1, 9, ("w",))]).identity()
    assert one.identity() != EventChunk.of([b"2"], [Run(1, 0, ())]).identity()


@pytest.mark.parametrize("level", range(10))
def test_equal_content_has_one_name_however_it_is_compressed(level: int) -> None:
    events = [orjson.dumps({"event": "A", "n": n % 7}) for n in range(500)]
    chunk = EventChunk.of(events, [Run(500, 0, ())])
    lines = memoryview(b"".join(b"\n," + event for event in events))
    assert EventChunk.of_lines([lines], 500, [Run(500, 0, ())]).identity() == chunk.identity()
    payload = gzip.compress(gzip.decompress(chunk.payload), level)
    other = dataclasses.replace(chunk, payload=payload)
    assert other.payload != chunk.payload
    assert other.identity() == chunk.identity()


def test_empty_chunk() -> None:
    empty = EventChunk.of([], [])
    assert empty.events() == []
    assert json.loads(gzip.decompress(empty.payload)) == []
    assert merge([empty], Limits()) == ([], [])
