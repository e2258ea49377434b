"""JSON as people have it: lines, arrays, objects over several lines, commas at line ends."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import pathlib
import tempfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read import json_lines, json_tables, json_values
from mixpanel_sink.read.json_lines import JsonLines
from mixpanel_sink.read.json_values import is_lines, values_of
from mixpanel_sink.read.records import BadRecord
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, Unit, guarded
from mixpanel_sink.results import FailedRecord

OBJECTS: list[dict[str, Any]] = [
    {"n": 0, "text": "a, b] } ü 😀", "tags": [1, {"x": []}]},
    {"n": 1, "big": 2**70, "nothing": None},
    {"n": 2, "inner": {"deep": [{}, {"y": "\\"}]}},
    {"n": 3, "text": 'quote " and \n line'},
    {"n": 4},
]


def rows(path: pathlib.Path, content: bytes) -> list[Any]:
    path.write_bytes(content)
    return list(JsonLines().rows(str(path)))


LAYOUTS = {
    "lines": "\n".join(map(json.dumps, OBJECTS)),
    "lines with commas": ",\n".join(map(json.dumps, OBJECTS)) + ",\n",
    "array, a line each": "[\n" + ",\n".join(map(json.dumps, OBJECTS)) + "\n]\n",
    "array, bracket and object": "[" + ",\n".join(map(json.dumps, OBJECTS)) + "]",
    "array, leading commas": "[" + "\n,".join(map(json.dumps, OBJECTS)) + "\n]",
    "array in one line": json.dumps(OBJECTS),
    "array, pretty": json.dumps(OBJECTS, indent=2),
    "array, pretty, unescaped": json.dumps(OBJECTS, indent="\t", ensure_ascii=False),
    "in a row": "".join(map(json.dumps, OBJECTS)),
    "in a row, blanks": " ".join(map(json.dumps, OBJECTS)),
    "pretty": "\n".join(json.dumps(each, indent=2) for each in OBJECTS),
    "pretty, commas": ",\n".join(json.dumps(each, indent=2) for each in OBJECTS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n \n"], ids=["", "mark", "blank"])
def test_every_layout_gives_every_object(tmp_path, monkeypatch, layout: str, mark: bytes) -> None:
    monkeypatch.setattr(json_values, "CHUNK_BYTES", 7)
    found = rows(tmp_path / "a.json", mark + LAYOUTS[layout].encode())
    assert [record for _, record in found] == OBJECTS
    shift = 2 if mark == b"\n \n" and layout.startswith("lines") else 0
    assert [row for row, _ in found] == [n + shift for n in range(5)]


def test_gzip_without_a_suffix(tmp_path) -> None:
    found = rows(tmp_path / "a.json", gzip.compress(LAYOUTS["pretty"].encode()))
    assert [record for _, record in found] == OBJECTS


def test_what_is_not_an_object_in_an_array(tmp_path) -> None:
    found = rows(tmp_path / "a.json", b'[\n{"n": 0},\n7,\n{"n": 2}\n]')
    assert [row for row, _ in found] == [0, 1, 2]
    assert isinstance(found[1][1], BadRecord)
    assert found[1][1].message.startswith("Object 2 holds an int and no object")


@pytest.mark.parametrize(
    ("content", "good", "says"),
    [
        ('[\n{"n": 0},\n{"n": 1', 1, "from line 3 on"),
        ('[\n{"n": 0},\n{"n": 1}\n', 2, "the array is not closed"),
        ('[\n{"n": 0},\n{"n": }\n]', 1, "from line 3 on"),
        ('[\n{"n": 0}\n]\n{"n": 1}', 1, "something follows the array"),
        ('{\n"n": 0}\n{"n": NaN}', 1, "from line 3 on"),
    ],
)
def test_where_it_stops_being_json(tmp_path, content: str, good: int, says: str) -> None:
    (tmp_path / "a.json").write_text(content)
    found = JsonLines().rows(str(tmp_path / "a.json"))
    assert len(list(itertools.islice(found, good))) == good
    with pytest.raises(InputError, match=says):
        next(found)


def test_a_bad_first_line_is_a_bad_line(tmp_path) -> None:
    found = rows(tmp_path / "a.json", b'{"n": 0, "x"\n' + b'{"n": 1}\n' * 50)
    assert isinstance(found[0][1], BadRecord)
    assert len(found) == 51
    found = rows(tmp_path / "b.json", b"[1, 2]\n" + b'{"n": 1}\n' * 50)
    assert isinstance(found[0][1], BadRecord)
    assert len(found) == 51


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5) | st.none()),
        min_size=2,
        max_size=5,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["\n", " ", "", ",\n"]),
)
def test_any_objects(objects: list[Any], indent: Any, array: bool, between: str) -> None:
    objects[0]["key"] = 1  # the first tells: an empty one would be written on a line by itself
    if array:
        text = json.dumps(objects, indent=indent)
    else:
        text = between.join(json.dumps(each, indent=indent) for each in objects)
    data = text.encode()
    if is_lines(io.BytesIO(data)):
        found = [json.loads(line.rstrip(b",")) for line in data.split(b"\n")]
    else:
        found = [json.loads(each) for each in values_of("a", io.BytesIO(data))]
    assert found == objects


def by_rows(path: str) -> dict[int, Any]:
    return {
        row: record.message if isinstance(record, BadRecord) else record
        for row, record in JsonLines().rows(path)
    }


def by_elements(path: str, columns: Columns = ALL_COLUMNS) -> tuple[dict[int, Any], int]:
    """The same of the elements, and how many rows came in tables."""
    found: dict[int, Any] = {}
    in_tables = 0
    for element in JsonLines().elements(Unit(path, "key"), columns):
        if isinstance(element, FailedRecord):
            assert element.row is not None
            found[element.row] = element.message
            continue
        if isinstance(element, RecordBlock):
            origin, records = element.origin, list(element.records)
            offsets = element.offsets or range(len(records))
        else:
            assert isinstance(element, pa.Table)
            origin, records = TableOrigin.of(element), element.to_pylist()
            offsets = range(len(records))
            in_tables += len(records)
        assert origin is not None
        for offset, record in zip(offsets, records, strict=True):
            found[origin.source(offset).row] = record
    return found, in_tables


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet='a":{[.\\ü😀\n\x00\ud800', max_size=5).filter(lambda t: "\ud800" not in t),
    st.sampled_from(["null", '"a": null', '{"a":1}', "1", "-0.0"]),
)
KINDS = [
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.text(alphabet='a":{[.\\ü😀\n', max_size=5),
]
PLAIN = [st.booleans(), st.integers(-9, 2**63 - 1), st.floats(0.5, 9), KINDS[3]]
KINDS += [st.lists(plain, max_size=3) for plain in PLAIN]
KINDS += [st.fixed_dictionaries({"x": one, "ü": other}) for one, other in itertools.pairwise(PLAIN)]
KINDS.append(st.lists(st.fixed_dictionaries({"x": PLAIN[1], "a": st.lists(PLAIN[3])}), max_size=2))


@st.composite
def lines(draw: Any) -> list[str]:
    """Lines that are alike, but for some."""
    columns = draw(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(KINDS), min_size=1))
    odd = st.dictionaries(st.sampled_from("abcdz"), SCALARS | st.lists(SCALARS, max_size=2))
    ascii_only, separators = draw(st.booleans()), draw(st.sampled_from([None, (",", ":")]))
    made = []
    for _ in range(draw(st.integers(0, 12))):
        record = {name: draw(kind) for name, kind in columns.items()}
        if draw(st.integers(0, 30)) == 30:
            record = draw(odd)
        line = json.dumps(record, ensure_ascii=ascii_only, separators=separators)
        if draw(st.integers(0, 60)) == 60:
            line = draw(
                st.sampled_from(["", " ", "[1]", "{", line + line, line + ",", "null", "1.0"])
            )
        made.append(line)
    return made


@settings(max_examples=300, deadline=None)
@given(lines(), st.sampled_from([10, 100, 1000]))
def test_tables_hold_what_lines_hold(texts: list[str], block: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = pathlib.Path(folder, "a.jsonl")
        path.write_bytes("\n".join(texts).encode())
        patch.setattr(json_lines, "BLOCK_BYTES", block)
        patch.setattr(json_lines, "BLOCKS_TRIED", 1000)
        expected = by_rows(str(path))
        found, _ = by_elements(str(path))
    assert repr(sorted(found.items())) == repr(sorted(expected.items()))
    kept = [list(r) for r in found.values() if isinstance(r, dict)]
    assert kept == [list(r) for r in expected.values() if isinstance(r, dict)]


def test_plain_lines_are_read_as_tables(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 5000)
    records = [
        {"user": f"u{i}", "n": i, "x": i + 0.5, "note": 'ü "quoted": {', "none": None, "ok": True}
        for i in range(3000)
    ]
    texts = [json.dumps(record, ensure_ascii=False) for record in records]
    texts[1500] = "bad"
    (tmp_path / "a.jsonl").write_text("\n".join(texts))
    found, in_tables = by_elements(f"{tmp_path}/a.jsonl")
    assert in_tables > 2700
    assert found.pop(1500).startswith("Line 1501 is not JSON")
    assert found == {row: record for row, record in enumerate(records) if row != 1500}


def without_nulls(found: dict[int, Any], but: str = "") -> dict[int, Any]:
    """Rows without their nulls, but for that of a column whose keys no line may lack."""
    return {
        row: record
        if isinstance(record, str)
        else {k: record[k] for k in sorted(record) if record[k] is not None or k == but}
        for row, record in sorted(found.items())
    }


@settings(max_examples=100, deadline=None)
@given(lines(), st.data(), st.sampled_from([30, 100, 1000]))
def test_a_missing_key_is_a_null_where_that_is_the_same(
    texts: list[str], data: Any, block: int
) -> None:
    made = []
    for text in texts:
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict) and record:
            gone = data.draw(st.sets(st.sampled_from(sorted(record)), max_size=2))
            text = json.dumps({k: v for k, v in record.items() if k not in gone})
        made.append(text)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = pathlib.Path(folder, "a.jsonl")
        path.write_bytes("\n".join(made).encode())
        patch.setattr(json_lines, "BLOCK_BYTES", block)
        patch.setattr(json_lines, "BLOCKS_TRIED", 1000)
        expected = by_rows(str(path))
        found, _ = by_elements(str(path), Columns(required=frozenset("a")))
    assert repr(without_nulls(found, "a")) == repr(without_nulls(expected, "a"))


ODD_LINES = {
    "a key twice": '{"a": 1, "a": 2}',
    "a key twice, null last": '{"a": 1, "a": null}',
    "a key twice, null first": '{"a": null, "a": 1}',
    "a key twice, both null": '{"a": null, "a": null}',
    "a key that no other line has": '{"z": 1}',
    "such a key with null": '{"z": null}',
    "a number in a column of text": '{"b": 5}',
    "text in a column of numbers": '{"a": "5"}',
    "a number and text that change places": '{"b": 5, "a": "x"}',
    "a list in a column of text": '{"b": ["x"]}',
    "an object in a column of text": '{"b": {"x": "y"}}',
    "such an object, and its null and a new key": '{"b":{"a":null},"z":"y"}',
    "a list of such objects, and new keys": '{"b":[{"a":null}],"z":"y"}',
    "an integer among floats": '{"c": 3}',
    "a float without a fraction": '{"c": 1e5}',
    "a number beyond 64 bits": '{"a": 123456789012345678901}',
    "what looks like a null": '{"b": "\\"a\\": null"}',
    "two on a line": '{"a": 1}{"a": 2}',
    "nothing": "{}",
    "another style": '{"a":null,"b":null}',
    "an object with its keys in another order": '{"d": {"y": [], "x": 1}}',
    "an object with a key more": '{"d": {"x": 1, "y": [], "z": 1}}',
    "an object with a key less": '{"d": {"x": 1}}',
    "an object with a key more, which is null": '{"d": {"x": 1, "y": [], "a": null}}',
    "an object with a null": '{"d": {"x": null, "y": []}}',
    "an object with a key twice": '{"d": {"x": 1, "x": 1, "y": []}}',
    "an object with nothing": '{"d": {}}',
    "a null where an object is expected": '{"d": null}',
    "a text where an object is expected": '{"d": "x"}',
    "a list in a list": '{"e": [[0.5]]}',
    "an integer in a list of floats": '{"e": [1]}',
    "a null in a list": '{"e": [null]}',
    "a number where a list is expected": '{"e": 0.5}',
    "an object and a list that change places": '{"d": [0.5], "e": {"x": 1, "y": []}}',
    "an object where it is not expected": '{"a": {"d": {"x": 1, "y": []}}}',
    "an object's text that looks like it": '{"b": "{\\"d\\": {\\"x\\": 1, \\"y\\": []}}"}',
    "an object within itself": '{"d": {"x": 1, "d": {"x": 1, "y": []}}}',
    "a list within another": '{"d": {"x": 1, "e": [0.5]}}',
    "lists in lists": f'{{"e": {"[" * 900}{"]" * 900}}}',
    "an object twice": '{"d": {"x": 1, "y": []}, "d": {"x": 1, "y": []}}',
}


@pytest.mark.parametrize("compact", [False, True], ids=["spaces", "compact"])
def test_one_odd_line_among_plain_ones(tmp_path, monkeypatch, compact: bool) -> None:
    """Whatever it is, it means what it means by itself."""
    path = tmp_path / "a.jsonl"
    plain: list[dict[str, Any]] = [
        {"a": 1, "b": 'text: "x" and null', "c": 0.5, "größe": True},
        {"a": None, "b": None, "c": None, "größe": None},
        {"b": "y", "größe": False, "d": {"x": 1, "y": ['], "x": "']}, "e": [0.5]},
        {"a": 2, "c": 2.25, "e": [], "d": {"x": 2, "y": []}},
        {},
    ]
    separators = (",", ":") if compact else None
    texts = [json.dumps(record, separators=separators) for record in plain * 3]
    monkeypatch.setattr(json_tables, "_LINES", len(texts))  # no column is told by the odd one
    columns = Columns(required=frozenset())
    path.write_text("\n".join([*texts, *texts]))
    assert by_elements(str(path), columns)[1] > len(
        texts
    )  # so that it is the odd line that matters
    for odd in ODD_LINES.values():
        path.write_text("\n".join([*texts, odd, *texts]))
        expected = by_rows(str(path))
        found, _ = by_elements(str(path), columns)
        assert repr(without_nulls(found)) == repr(without_nulls(expected)), odd


def test_lines_with_gaps_are_read_as_tables(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 5000)
    records = [
        {
            "user": f"u{i}",
            **({"n": i} if i % 3 else {}),
            **({"x": i + 0.5} if i % 5 else {"x": None}),
            **({"rare": True} if i > 1000 and i % 50 == 0 else {}),
        }
        for i in range(3000)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    found, in_tables = by_elements(f"{tmp_path}/a.jsonl", Columns(required=frozenset({"user"})))
    assert in_tables > 2000
    assert [{k: v for k, v in row.items() if v is not None} for row in found.values()] == [
        {k: v for k, v in row.items() if v is not None} for row in records
    ]
    _, in_tables = by_elements(f"{tmp_path}/a.jsonl", Columns(required=frozenset({"n"})))
    assert in_tables < 5  # the last block


def test_lists_and_objects_are_read_in_tables(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 10_000)
    records: list[dict[str, Any]] = [
        {
            "page": {"url": f'/"{i}"', "größe": i + 0.5, "parts": [i, i + 1]},
            "tags": ["a", "{"][: i % 3],
            "items": [{"id": i, "sold": True}] * (i % 2),
        }
        for i in range(1000)
    ]
    records[300]["page"]["more"] = 1
    path = tmp_path / "a.jsonl"
    for separators in (None, (",", ":")):
        path.write_text("\n".join(json.dumps(each, separators=separators) for each in records))
        found, in_tables = by_elements(str(path))
        assert in_tables > 800
        assert [found[row] for row in range(1000)] == records


def test_a_file_that_breaks_off_keeps_what_came_before(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 100_000)
    packed = gzip.compress("\n".join(json.dumps({"n": i}) for i in range(200_000)).encode(), 1)
    (tmp_path / "a.jsonl.gz").write_bytes(packed[:-500])
    *tables, broken = guarded(JsonLines(), Unit(f"{tmp_path}/a.jsonl.gz", "k"), ALL_COLUMNS)
    assert sum(len(table) for table in tables if isinstance(table, pa.Table)) > 150_000
    assert isinstance(broken, FailedRecord)
    assert broken.reason == "file_unreadable"
