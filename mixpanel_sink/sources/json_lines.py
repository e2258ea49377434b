"""Newline-delimited JSON: an object a line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from mixpanel_sink.errors import InputError
from mixpanel_sink.sources.records import BadRecord, lines_of, opened, without_mark

LINES_CHECKED = 1000
"""Lines whose keys are taken for the file's columns before anything is sent."""
_LONG_NUMBER = re.compile(rb"\d{19}")


@dataclasses.dataclass(frozen=True)
class JsonLines:
    """Reads JSON lines. A row is a line, counted from 0; empty lines are left out."""

    def columns(self, path: str) -> list[str]:
        """The keys of the first lines.

        Raises:
            InputError: if the file is something else.
        """
        keys: dict[str, None] = {}
        bad: list[BadRecord] = []
        for _, record in itertools.islice(self.rows(path), LINES_CHECKED):
            if isinstance(record, BadRecord):
                bad.append(record)
            else:
                keys |= dict.fromkeys(record)
        if bad and not keys:
            raise InputError(f"{path} is no newline-delimited JSON. {bad[0].message}")
        return list(keys)

    def rows(self, path: str) -> Iterator[tuple[int, dict[str, Any] | BadRecord]]:
        """Each line that is not empty, with its number."""
        with opened(path) as file:
            for row, line in enumerate(without_mark(lines_of(file))):
                if line.strip():
                    yield row, parse(line, row)


def parse(line: bytes, row: int) -> dict[str, Any] | BadRecord:
    """The object of a line."""
    try:
        value = orjson.loads(line)
        if _LONG_NUMBER.search(line):  # orjson rounds integers beyond 64 bits; the sink names them
            value = json.loads(line)
    except ValueError as error:
        return _bad(line, row, f"is no JSON ({str(error).partition(':')[0]})")
    if not isinstance(value, dict):
        return _bad(line, row, f"holds a {type(value).__name__} and no object")
    return value


def _bad(line: bytes, row: int, why: str) -> BadRecord:
    text = line.decode("utf-8", "backslashreplace").rstrip("\r")
    return BadRecord(f"Line {row + 1} {why}. Mend or remove it.", text)
