"""How a CSV file is written: told from a sample, for a person to confirm in the mapping.

An import never guesses: what is found here is written into the mapping as settings.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import re
from collections.abc import Sequence
from typing import Any

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import reached, short
from mixpanel_sink.read.files import opened

SAMPLE_BYTES = 1 << 20
_ROWS = 5000
_DELIMITERS = (",", ";", "\t", "|")
_NULLS = ("\\N", "NULL", "null", "NA", "N/A", "None", "-")
_ALWAYS_NULL = ("\\N", "NULL")
"""Marks that are null in a column of text, too."""
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_BOOLEAN = re.compile("true|false", re.I)
_STYLES = {
    (".", ""): re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?"),
    (",", ""): re.compile(r"[+-]?\d+(,\d+)?"),
    (".", ","): re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?"),
    (",", "."): re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?"),
}
"""Numbers, by what stands before a fraction and between thousands; the likelier first."""


def csv_settings(path: str) -> dict[str, Any]:
    """The settings of `CsvRows` with which a file can be read.

    Raises:
        InputError: if it cannot be opened.
    """
    try:
        with reached(path), opened(path) as file:
            sample = bytes(file.read(SAMPLE_BYTES))
    except InputError:
        raise
    except Exception as error:  # of the disk, of compression, and of each cloud's client
        raise InputError(f"{path} cannot be read ({short(error)}).") from None
    encoding = _encoding(sample)
    text = sample.decode(encoding, "replace").removeprefix("\ufeff")
    if len(sample) == SAMPLE_BYTES:  # the last line may be cut off
        text = text[: text.rfind("\n") + 1]
    stated = re.match(r'"?sep=(.)"?\r?\n', text, re.I)
    delimiter = stated[1] if stated else _delimiter(text)
    rows = _rows(text[stated.end() :] if stated else text, delimiter)
    settings: dict[str, Any] = {"delimiter": delimiter, "encoding": encoding}
    if not rows:
        return settings
    header, *cells = rows
    columns = {
        name: [row[place] for row in cells if len(row) == len(header) and row[place]]
        for place, name in enumerate(header)
    }
    nulls = _nulls(columns)
    plain = {name: [c for c in values if c not in nulls] for name, values in columns.items()}
    decimal, thousands = _style(list(plain.values()))
    types = {name: _type(values, decimal, thousands) for name, values in plain.items()}
    if typed := {name: kind for name, kind in types.items() if kind != "text"}:
        settings["types"] = typed
    if decimal != ".":
        settings["decimal"] = decimal
    if thousands:
        settings["thousands"] = thousands
    if nulls:
        settings["nulls"] = list(nulls)
    return settings


def _encoding(sample: bytes) -> str:
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for name, zeros in (("utf-16-le", sample[1:2000:2]), ("utf-16-be", sample[0:2000:2])):
        if zeros.count(0) > len(zeros) * 0.4:
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # a character may be cut off
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def _rows(text: str, delimiter: str) -> list[list[str]]:
    rows = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    found: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # a cell that is too long: what came before will do
        found.extend(row for row in itertools.islice(rows, _ROWS) if row)
    return found


def _delimiter(text: str) -> str:
    """The one that gives the most rows as many cells as the header, and then the most cells."""

    def fit(delimiter: str) -> tuple[float, int]:
        rows = _rows(text, delimiter)
        if not rows or len(rows[0]) < 2:
            return (0, 0)
        return (sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0]))

    return max(_DELIMITERS, key=fit)


def _nulls(columns: dict[str, list[str]]) -> tuple[str, ...]:
    found: set[str] = set()
    for values in columns.values():
        others = [value for value in values if value not in _NULLS]
        numbers = bool(others) and any(
            all(style.fullmatch(value) for value in others) for style in _STYLES.values()
        )
        marks = _NULLS if numbers else _ALWAYS_NULL
        found.update(mark for mark in marks if mark in values)
    return tuple(mark for mark in _NULLS if mark in found)


def _style(columns: Sequence[list[str]]) -> tuple[str, str]:
    """What stands before fractions and between thousands: the style in which most columns are
    numbers, the plain one if there is no difference."""

    telling = [c for c in columns if any("." in cell or "," in cell for cell in c)]

    def fit(style: tuple[str, str]) -> int:
        return sum(all(map(_STYLES[style].fullmatch, c)) for c in telling)

    return max(_STYLES, key=fit)


def _type(values: Sequence[str], decimal: str, thousands: str) -> str:
    if not values:
        return "text"
    if all(map(_BOOLEAN.fullmatch, values)):
        return "boolean"
    if not all(map(_STYLES[decimal, thousands].fullmatch, values)):
        return "text"
    plain = [value.replace(thousands, "") if thousands else value for value in values]
    if all(map(_INTEGER.fullmatch, plain)):
        return "integer"
    # Zeros in front make a code of a number, such as a postal code; so do very many digits.
    code = re.compile(r"[+-]?(0\d|\d{16})")
    return "text" if any(map(code.match, plain)) else "number"
