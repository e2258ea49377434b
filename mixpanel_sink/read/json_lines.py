"""JSON: an object a line, or one array of objects, or objects one after another."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar

import orjson

from mixpanel_sink.api.numbers import read_json
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import InputError, with_article
from mixpanel_sink.read.ahead import worked_ahead
from mixpanel_sink.read.files import estimated_rows, opened
from mixpanel_sink.read.json_kinds import Types, add_types, schema_of
from mixpanel_sink.read.json_tables import first_records, has_long_number, table_of_block
from mixpanel_sink.read.json_values import is_lines, values_of
from mixpanel_sink.read.lines import blocks_of, lines_of, without_mark
from mixpanel_sink.read.records import BadRecord, RecordFormat, Row, elements_of
from mixpanel_sink.read.source import Columns, Element, Unit

LINES_CHECKED = 1000
"""Lines whose keys are taken for the file's columns before anything is sent."""
BLOCK_BYTES = 4 << 20
"""Lines that become a table at once."""
BLOCKS_TRIED = 8
"""Blocks after each other that are not plain, after which the others are not tried: more than are
under way at once, of which none knows what the others show."""


@dataclasses.dataclass(frozen=True)
class JsonLines(RecordFormat):
    """Reads JSON lines. A row is a line, counted from 0; empty lines are left out.

    A file that is one array of objects, or objects one after another that may be written over
    several lines, is read as well: a row is an object then. The file's beginning tells which.
    """

    name: ClassVar[str] = "JSON lines"
    states_columns: ClassVar[bool] = False

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
            raise InputError(f"{path} is not JSON lines. {bad[0].message}")
        return list(keys)

    def estimated_rows(self, path: str) -> int:
        """By the size of the first lines."""
        return estimated_rows(path, self.rows(path))

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """Tables of the blocks of lines that are plain, and of the others their records one by
        one: the same values and rows as `rows` gives."""
        with opened(unit.path) as file:
            lines = is_lines(file)
        if not lines:
            yield from super().elements(unit, columns, keep_text)
            return
        tables = _Tables(columns.required)
        row = 0
        with opened(unit.path) as file:
            blocks = without_mark(blocks_of(file, BLOCK_BYTES))
            for block, table in worked_ahead(blocks, tables.of):
                if table is None:
                    yield from elements_of(
                        tables.learn(_rows_of(block, row)), unit.path, unit.key, keep_text
                    )
                    row += block.count(b"\n")
                else:
                    rows = len(table)
                    if (wanted := columns.of(table.column_names)) is not None:
                        table = table.select(wanted)
                    yield TableOrigin(unit.path, unit.key, row, declared=False).attach(table)
                    row += rows

    def rows(self, path: str) -> Iterator[Row]:
        """Each object, with the number of its line or its own."""
        with opened(path) as file:
            lines = is_lines(file)
        with opened(path) as file:
            if lines:
                for row, line in enumerate(without_mark(lines_of(file))):
                    if line.strip():
                        yield row, parse(line, row)
            else:
                for row, text in enumerate(values_of(path, file)):
                    yield row, parse(text, row, "Object")


class _Tables:
    """Makes tables of blocks, until too many after each other are not plain.

    Args:
        required: columns whose keys no line may lack; None for all.
    """

    def __init__(self, required: Collection[str] | None) -> None:
        self._required = required
        self._types: Types = {}
        self._left = BLOCKS_TRIED

    def of(self, block: bytes) -> Any:
        """The table, or None. Several threads ask."""
        if not self._left:
            return None
        types = self._types
        if not types:
            add_types(types := {}, first_records(block))
            self._types = types
        schema = schema_of(types)
        table = None if schema is None else table_of_block(block, schema, self._required)
        self._left = BLOCKS_TRIED if table is not None else self._left - 1
        return table

    def learn(self, rows: Iterator[Row]) -> Iterable[Row]:
        """The rows of a block that is not plain: its columns may be those of the next ones."""
        if not self._left:
            return rows
        held = list(rows)
        records = [record for _, record in held if isinstance(record, dict)]
        types = copy.deepcopy(self._types)
        add_types(types, records)
        self._types = {} if schema_of(types) is None else types
        return held


def _rows_of(block: bytes, first: int) -> Iterator[Row]:
    """As `JsonLines.rows`, of a block of lines."""
    is_long = has_long_number(block)
    for row, text in enumerate(block[:-1].split(b"\n"), first):
        try:
            value = orjson.loads(text)
        except ValueError:
            value = None
        if type(value) is dict and not is_long:
            yield row, value
        elif text.strip():
            yield row, parse(text, row)


def parse(text: bytes, row: int, kind: str = "Line") -> dict[str, Any] | BadRecord:
    """The object of a line, which may have a comma at its end, or of an object's own text."""
    value = read_object(text)
    if isinstance(value, str) and (plain := text.rstrip()).endswith(b","):
        value = read_object(plain[:-1])
    if not isinstance(value, str):
        return value
    shown = text.decode("utf-8", "backslashreplace").rstrip("\r")
    return BadRecord(f"{kind} {row + 1} {value}. Correct or remove it.", shown)


def read_object(text: bytes) -> dict[str, Any] | str:
    """The JSON object of a text, or why there is none."""
    try:
        value = read_json(text)
    except ValueError as error:
        return f"is not JSON ({str(error).partition(':')[0]})"
    except RecursionError:  # of json, which goes less deep than orjson
        return "is nested too deep"
    if isinstance(value, dict):
        return value
    return f"holds {with_article(type(value).__name__)} and no object"
