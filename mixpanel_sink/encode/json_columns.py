"""Columns whose values are written as JSON one by one, in a table that stays columnar otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pyarrow as pa

from mixpanel_sink.api.limits import LONG_STRING_BYTES
from mixpanel_sink.api.numbers import MOST_ID_BITS, Rounded, exact_float, json_bytes, whole_number
from mixpanel_sink.api.values import WITHOUT_LIMITS, json_text, to_json


class JsonType(pa.ExtensionType):
    """The Arrow type of a column of JSON texts, for properties; null where there is no value."""

    NAME = "mixpanel_sink.json"

    UNFIT = "!"
    """What leads the text of a value that the record encoder must look at. (JSON never begins so.)
    Alone it stands for a value that JSON does not have."""

    def __init__(self) -> None:
        super().__init__(pa.string(), self.NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: Any) -> JsonType:
        return cls()


class SparseType(JsonType):
    """As `JsonType`, but null where the record has no such column; a null is JSON's there."""

    NAME = "mixpanel_sink.sparse_json"
    NULL = "null"


def json_column(values: Iterable[Any], name: str, drop_non_finite: bool) -> pa.Array:
    """Any values as such a column; the arguments are those of `to_json`."""
    return _typed(JsonType(), _texts(values, name, drop_non_finite))


def texts_column(kind: JsonType, texts: Sequence[str | None]) -> pa.ChunkedArray:
    """JSON texts as a column."""
    return pa.chunked_array([_typed(kind, texts)])


def _typed(kind: JsonType, texts: Sequence[str | None]) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array(texts, pa.string()))


def _texts(values: Iterable[Any], name: str, drop_non_finite: bool) -> list[str | None]:
    return [None if value is None else _json_text(value, name, drop_non_finite) for value in values]


def sparse_column(texts: Iterable[str | None], absent: Iterable[bool]) -> pa.ChunkedArray:
    """JSON texts, or None for null, as a column that some records do not have."""
    stated = [
        None if lacks else SparseType.NULL if text is None else text
        for text, lacks in zip(texts, absent, strict=True)
    ]
    return texts_column(SparseType(), stated)


def _json_text(value: Any, name: str, drop_non_finite: bool) -> str | None:
    if type(value) is not str and (text := json_text(value)) is not None:
        return text
    try:
        plain = to_json(value, name, drop_non_finite)
        if type(plain) is str and len(plain) > LONG_STRING_BYTES // 4:
            # The record encoder counts those that Mixpanel cuts.
            return JsonType.UNFIT + orjson.dumps(plain).decode()
        rounded: list[Rounded] = []
        written = json_bytes(plain, rounded)
        if rounded:  # ids come from all digits
            return JsonType.UNFIT + json_bytes(plain, exact=True).decode()
        return None if plain is None else written.decode()
    except Exception:  # also of a user's class; the record encoder says why
        return JsonType.UNFIT + (_number_text(value) or _text_without_limits(value, name))


def _text_without_limits(value: Any, name: str) -> str:
    """What is too long or too deep for a property may yet be unpacked, and what holds a number that
    JSON does not have may yet be dropped."""
    try:
        return json_bytes(to_json(value, name, False, WITHOUT_LIMITS), exact=True).decode()
    except Exception:  # also of a user's class
        pass
    try:
        text = json.dumps(value, ensure_ascii=False) if _is_plain(value) else ""
        return text.encode().decode()  # half a surrogate pair fails
    except (ValueError, RecursionError):
        return ""


def _is_plain(value: Any) -> bool:
    """Whether Python's JSON keeps a value as it is."""
    if type(value) is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def _number_text(value: Any) -> str:
    """A number that JSON does not have, as Python's JSON writes it: a long integer may yet become
    text, and NaN be left out."""
    if type(value) is float:
        return json.dumps(value)
    if (whole := whole_number(value)) is not None:
        value = whole
    return str(value) if type(value) is int and value.bit_length() <= MOST_ID_BITS else ""


def json_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of such a column; the ones that JSON does not have are missing."""
    return [None if text in (None, JsonType.UNFIT) else _value(text) for text in texts_of(column)]


def lost_rows(column: pa.ChunkedArray) -> list[int]:
    """Rows whose value is not in the column, because JSON does not have it; of any column."""
    if not isinstance(column.type, JsonType):
        return []
    return [row for row, text in enumerate(texts_of(column)) if text == JsonType.UNFIT]


def texts_of(column: pa.ChunkedArray) -> list[str | None]:
    """The texts of such a column."""
    return [text for chunk in column.chunks for text in chunk.storage.to_pylist()]


def _value(text: str) -> Any:
    if text.startswith(JsonType.UNFIT):
        return json.loads(text.removeprefix(JsonType.UNFIT), parse_float=exact_float)
    return orjson.loads(text)
