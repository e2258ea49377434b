"""CSV with a header. All cells are text unless their column is given a type."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import decimal
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from mixpanel_sink.api.numbers import number_of
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read import csv_lines
from mixpanel_sink.read.csv_lines import Lines, bad_row, cells_of, header_of, opened_text
from mixpanel_sink.read.csv_tables import table_of_block
from mixpanel_sink.read.files import estimated_rows
from mixpanel_sink.read.records import BadRecord, RecordFormat, Row, elements_of
from mixpanel_sink.read.source import Columns, Element, FormatOption, Unit
from mixpanel_sink.settings.names import near

BLOCK_BYTES = 4 << 20
"""Lines that become a table at once."""
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.I)
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return int(text)


def _number(text: str) -> float | decimal.Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return number_of(text)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError from None


TYPES: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
"""What a column's cells may be read as."""


def parse_types(text: str) -> dict[str, str]:
    """Types as an option has them: NAME=integer,OTHER=number.

    Raises:
        SettingError: for a part that has no type.
    """
    types = {}
    for part in text.split(","):
        name, sign, kind = part.strip().rpartition("=")
        if not part.strip():
            continue
        if not sign or not name:
            raise SettingError(f"--types has {part.strip()!r}; write it as NAME=integer.")
        types[name.strip()] = kind.strip()
    return types


def parse_delimiter(text: str) -> str:
    """A delimiter as an option has it."""
    return "\t" if text == "tab" else text


@dataclasses.dataclass(frozen=True)
class CsvRows(RecordFormat):
    """Reads CSV (RFC 4180): a header, then a record a row, counted from 0.

    Empty cells are null. A row with other than the header's number of cells, or a cell that is
    not of its column's type, is bad. A quoted cell without an end makes the file unreadable from
    there on. A first line such as `sep=;` and a byte order mark are left out.

    Args:
        types: column to "text" (default), "integer", "number" or "boolean".
        delimiter: between cells; "tab" means a tab.
        encoding: as Python names it, such as "utf-8", "utf-16" or "windows-1252".
        decimal: what separates a number's fraction: "." or ",".
        thousands: what separates a number's thousands, if anything, such as ".".
        nulls: cells that are null besides empty ones, such as "NULL".

    Raises:
        SettingError: for a setting that does not exist or contradicts another.
    """

    name: ClassVar[str] = "CSV"
    options: ClassVar[tuple[FormatOption, ...]] = (
        FormatOption(
            "types",
            None,
            "Columns that are not text, as NAME=integer, number or boolean; with commas between.",
            parse_types,
        ),
        FormatOption("delimiter", None, "Between cells; tab for a tab.", parse_delimiter),
        FormatOption("encoding", None, "Such as utf-8 (default), utf-16 or windows-1252."),
        FormatOption("decimal", None, "Before a number's fraction.", choices=(".", ",")),
        FormatOption("thousands", None, "Between a number's thousands, if anything."),
        FormatOption(
            "nulls",
            None,
            "Cells that are null besides empty ones, such as NULL; with commas between.",
            lambda text: tuple(text.split(",")),
        ),
    )

    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    nulls: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.types, str):
            object.__setattr__(self, "types", parse_types(self.types))
        if not isinstance(self.types, Mapping):
            raise SettingError("types must name columns and their types, such as {amount: number}.")
        object.__setattr__(self, "delimiter", parse_delimiter(self.delimiter))
        nulls = [self.nulls] if isinstance(self.nulls, str) else list(self.nulls)
        object.__setattr__(self, "nulls", tuple(map(str, nulls)))
        for column, name in self.types.items():
            if name not in TYPES:
                raise SettingError(
                    f"The column {column!r} has the type {name!r}; types are {', '.join(TYPES)}."
                    f"{near(name, list(TYPES))}"
                )
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise SettingError(f"The delimiter is {self.delimiter!r}; it must be one character.")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise SettingError(
                f"The encoding {self.encoding!r} is unknown. Use utf-8, utf-16, windows-1252 or "
                "another that Python knows."
            ) from None
        if self.decimal not in (".", ",") or self.thousands == self.decimal:
            raise SettingError(
                f"decimal is {self.decimal!r} and thousands {self.thousands!r}: decimal is . or , "
                "and thousands something else."
            )

    def columns(self, path: str) -> list[str]:
        """The header.

        Raises:
            InputError: if there is none, a column in it has no name, two have the same, or types
                name one that is not in it.
        """
        with opened_text(path, self.encoding) as file:
            header = header_of(path, Lines(file), self.delimiter)
        for column in self.types:
            if column not in header:
                other = ""
                if len(header) == 1:
                    other = " Is the delimiter another one?"
                raise InputError(
                    f"{path} has no column {column!r}, which has a type.{near(column, header)}"
                    f"{other}"
                )
        return header

    def estimated_rows(self, path: str) -> int:
        """By the size of the first rows."""
        return estimated_rows(path, self.rows(path))

    def rows(self, path: str) -> Iterator[Row]:
        """Each row after the header.

        Raises:
            InputError: as `columns`, and at a quoted cell that is too long or has no end.
        """
        with opened_text(path, self.encoding) as file:
            lines = Lines(file)
            header = header_of(path, lines, self.delimiter)
            yield from _Rows(self, path, lines, header)

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """Tables of the blocks in which no row can be bad, and of the others their records one by
        one: the same values and rows as `rows` gives."""
        with opened_text(unit.path, self.encoding) as file:
            lines = Lines(file)
            header = header_of(unit.path, lines, self.delimiter)
            careful = _Rows(self, unit.path, lines, header)
            while block := lines.block(BLOCK_BYTES):
                table = None
                # A cell may be too long in a block that is longer than a cell may be.
                if not self.thousands and len(block) <= csv_lines.CELL_CHARACTERS:
                    table = table_of_block(
                        block, header, self.types, self.delimiter, self.nulls, self.decimal
                    )
                if table is None:
                    rows = careful.up_to(lines.place + len(block))
                    yield from elements_of(rows, unit.path, unit.key, keep_text)
                    continue
                lines.take(block)
                if (wanted := columns.of(header)) is not None:
                    table = table.select(wanted)
                place = TableOrigin(unit.path, unit.key, careful.row, declared=False)
                yield place.attach(table)
                careful.row += len(table)


class _Rows:
    """Rows one by one, with whatever is wrong with them."""

    def __init__(self, given: CsvRows, path: str, lines: Lines, header: list[str]) -> None:
        self.row = 0
        self._path = path
        self._lines = lines
        self._header = header
        self._convert = [
            (place, name, TYPES[given.types[name]], given.types[name])
            for place, name in enumerate(header)
            if given.types.get(name, "text") != "text"
        ]
        self._cells = cells_of(lines, given.delimiter)
        self._nulls = frozenset(["", *given.nulls])
        self._decimal, self._thousands = given.decimal, given.thousands

    def __iter__(self) -> Iterator[Row]:
        return self.up_to(None)

    def up_to(self, place: int | None) -> Iterator[Row]:
        """The rows that begin before that place in the file."""
        lines = self._lines
        while place is None or lines.place < place:
            first = lines.begin()
            try:
                values: list[Any] = next(self._cells)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.open_after(error):
                    raise InputError(
                        f"{self._path} is read up to line {first} only: the row that begins there "
                        f"cannot be read ({error}), and its end cannot be found. Close "
                        "its quote, or shorten its cell."
                    ) from None
                yield self.row, bad_row(lines, first, f"cannot be read ({error})")
                self.row += 1
                continue
            if not values:  # an empty line
                continue
            yield self.row, self._record(values, first)
            self.row += 1

    def _record(self, values: list[Any], first: int) -> dict[str, Any] | BadRecord:
        header, nulls = self._header, self._nulls
        if len(values) != len(header):
            why = f"has {len(values)} cells and the header {len(header)}"
            return bad_row(self._lines, first, why)
        for place, name, make, kind in self._convert:
            if (text := values[place]) not in nulls:
                if kind in ("integer", "number"):
                    text = self._plain_number(text, kind)
                try:
                    values[place] = make(text)
                except ValueError:
                    a = "an" if kind == "integer" else "a"
                    why = f"has something in {name} that is not {a} {kind}"
                    return bad_row(self._lines, first, why)
        return {
            name: None if type(value) is str and value in nulls else value
            for name, value in zip(header, values)  # noqa: B905
        }

    def _plain_number(self, text: str, kind: str) -> str:
        if self._thousands:
            text = text.replace(self._thousands, "")
        if self._decimal != "." and kind == "number":
            text = "" if "." in text else text.replace(self._decimal, ".")
        return text
