"""JSON as people have it: lines, arrays, objects over several lines, commas at line ends."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.errors import InputError
from mixpanel_sink.read import json_values
from mixpanel_sink.read.json_lines import JsonLines
from mixpanel_sink.read.json_values import is_lines, values_of
from mixpanel_sink.read.records import BadRecord

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
    assert found[1][1].message.startswith("Object 2 holds a int and no object")


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
