"""JSON: an object a line, or one array of objects, or objects one after another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

from mixpanel_sink.api.numbers import read_json
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.files import blocks_of, estimated_rows, lines_of, opened, without_mark
from mixpanel_sink.read.json_tables import Schema, schema_of_block, table_of_block
from mixpanel_sink.read.json_values import is_lines, values_of
from mixpanel_sink.read.records import BadRecord, RecordFormat, Row, elements_of
from mixpanel_sink.read.source import Columns, Element, Unit

LINES_CHECKED = 1000
"""Lines whose keys are taken for the file's columns before anything is sent."""
BLOCK_BYTES = 4 << 20
"""Lines that become a table at once."""
BLOCKS_TRIED = 3
"""Blocks after each other that are not plain, after which the others are not tried."""
_MARK = b"\xef\xbb\xbf"


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
        tables = _Tables()
        row = 0
        with opened(unit.path) as file:
            for block in blocks_of(file, BLOCK_BYTES):
                plain = block if row else block.removeprefix(_MARK)
                table = tables.of(plain)
                if table is None:
                    texts = enumerate(plain[:-1].split(b"\n"), row)
                    rows = ((number, parse(text, number)) for number, text in texts if text.strip())
                    yield from elements_of(rows, unit.path, unit.key, keep_text)
                else:
                    if (wanted := columns.of(table.column_names)) is not None:
                        table = table.select(wanted)
                    yield TableOrigin(unit.path, unit.key, row).attach(table)
                row += block.count(b"\n")

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
    """Makes tables of blocks, until too many are not plain."""

    def __init__(self) -> None:
        self._schema: Schema | None = None
        self._left = BLOCKS_TRIED

    def of(self, block: bytes) -> Any:
        """The table, or None."""
        if not self._left:
            return None
        if self._schema is None:
            self._schema = schema_of_block(block)
        table = None if self._schema is None else table_of_block(block, self._schema)
        if table is None:  # the next one may have other columns
            self._schema = None
            self._left -= 1
        else:
            self._left = BLOCKS_TRIED
        return table


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
    return value if isinstance(value, dict) else f"holds a {type(value).__name__} and no object"
