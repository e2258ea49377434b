"""CSV as text: a file of any encoding as UTF-8, its lines, and its rows one by one."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.files import opened
from mixpanel_sink.read.lines import CHUNK_BYTES, check_line
from mixpanel_sink.read.records import BadRecord

CELL_CHARACTERS = Limits().batch_bytes
"""The longest cell. Five events' worth, since it may be a column that is not sent."""
SHOWN_CHARACTERS = 100_000
"""Characters of a bad row that its failed record keeps."""
_BREAKS_TRIED = 100
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def opened_text(path: str, encoding: str) -> Iterator[Any]:
    """A file for reading its bytes as UTF-8, whatever its encoding, without a byte order mark.

    Bytes that are not UTF-8 stay as they are: the sink refuses them by their column.

    Raises:
        InputError: while it is read, if it is not of that encoding.
    """
    with opened(path) as file:
        plain = codecs.lookup(encoding).name
        beginning = bytes(file.read(4))
        if beginning.startswith(_UTF16_MARKS) and not plain.startswith("utf-16"):
            raise InputError(
                f"{path} is UTF-16, and is read as {encoding}. Set encoding to utf-16 in the "
                "mapping's source."
            )
        yield _Text(path, _Joined(beginning, file), plain)


class _Joined:
    """A file of which the beginning was read already."""

    def __init__(self, beginning: bytes, file: Any) -> None:
        self._beginning = beginning
        self._file = file

    def read(self, size: int) -> bytes:
        beginning, self._beginning = self._beginning, b""
        return beginning or bytes(self._file.read(size))


class _Text:
    """Any encoding as UTF-8."""

    def __init__(self, path: str, file: Any, encoding: str) -> None:
        self._path = path
        self._file = file
        self._encoding = encoding
        self._decoder = None
        if encoding != "utf-8":
            errors = "strict" if encoding.startswith("utf") else "surrogateescape"
            self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._begun = False

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        while True:
            more = self._file.read(size)
            text = more if self._decoder is None else self._decoded(more)
            if not self._begun and text:
                text = text.removeprefix(codecs.BOM_UTF8)
                self._begun = True
            if text or not more:
                return text

    def _decoded(self, more: bytes) -> bytes:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(more, final=not more)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._path} is not {self._encoding} ({error.reason}). Correct encoding in the "
                "mapping's source."
            ) from None
        return text.encode("utf-8", "surrogateescape")


class Lines:
    """A file's lines as text, which remembers those of the row at hand; or blocks of them."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._held = b""
        self._at = 0
        self._number = 0
        self.place = 0
        """Bytes that were taken."""
        self.taken: list[str] = []

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        end = self._held.find(b"\n", self._at)
        while end < 0:
            held = len(self._held) - self._at
            if not self._fill():
                if held <= 0:  # the line before may have ended without a break
                    raise StopIteration
                end = held
                break
            end = self._held.find(b"\n", held)
        line = self._held[self._at : end].decode("utf-8", "surrogateescape") + "\n"
        self._take(end + 1 - self._at, 1)
        self.taken.append(line)
        return line

    def block(self, size: int) -> bytes:
        """About so many bytes of whole lines from here on, without taking them; all that is left
        if that is less, with a line break at its end."""
        while len(self._held) - self._at < size:
            if not self._fill():
                rest = self._held[self._at :]
                return rest if not rest or rest.endswith(b"\n") else rest + b"\n"
        end = self._held.rfind(b"\n", self._at, self._at + size) + 1
        if not end:
            return self.block(2 * size)
        block = self._held[self._at : end]
        if block.count(b'"') % 2:  # it ends within a cell; so not, if its quotes are in order
            outside = _last_break_outside(block)
            return block[:outside] if outside else block
        return block

    def take(self, block: bytes) -> None:
        """Adds a block."""
        self._take(len(block), block.count(b"\n"))

    def begin(self) -> int:
        """A row begins: the number of its first line, counted from 1."""
        self.taken.clear()
        return self._number + 1

    def open_after(self, error: csv.Error) -> bool:
        """Whether the next line may still be text of a quoted cell, and not a row to take.

        So it is where a cell is too long, unless no cell has quotes; and where a row went on over
        lines for more than a failed record can show: its quote is the mistake, not its end.
        """
        if "field limit" in str(error):
            return any('"' in line for line in self.taken)
        return len(self.taken) > 1 and sum(map(len, self.taken)) > SHOWN_CHARACTERS

    def _fill(self) -> bool:
        more = self._file.read(CHUNK_BYTES)
        self._held = self._held[self._at :] + more
        self._at = 0
        check_line(len(self._held))
        return bool(more)

    def _take(self, size: int, lines: int) -> None:
        self._at += size
        self.place += size
        self._number += lines


def _last_break_outside(block: bytes) -> int:
    """Where the last line ends behind which an odd number of quotes follows, so that an even one is
    before it; 0 if none of the last ones does."""
    end, quotes = len(block), 0
    for _ in range(_BREAKS_TRIED):
        before = block.rfind(b"\n", 0, end - 1) + 1
        quotes += block.count(b'"', before, end)
        if not before or quotes % 2:
            return before
        end = before
    return 0


def cells_of(lines: Lines, delimiter: str) -> Iterator[list[str]]:
    """The cells of each row, by Python's reader."""
    # The limit is the process's: a reader has none of its own. Raised only, and as late as here,
    # it lets everyone else read what they could before.
    if csv.field_size_limit() < CELL_CHARACTERS:
        csv.field_size_limit(CELL_CHARACTERS)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def header_of(path: str, lines: Lines, delimiter: str) -> list[str]:
    """The header, after a line such as `sep=;`, which Excel reads and writes.

    Raises:
        InputError: if there is none, it cannot be read, a column in it has no name, or two have the
            same.
    """
    cells = cells_of(lines, delimiter)
    try:
        header = next(cells, [])
    except csv.Error as error:
        if not any("\r" in line.rstrip("\r\n") for line in lines.taken):
            raise InputError(
                f"The header of {path} cannot be read ({error}). Correct its quotes."
            ) from None
        raise InputError(
            f"{path} has lines that end with a carriage return alone, as old Macs wrote them. Save "
            "it with line feeds (in a shell: tr '\\r' '\\n')."
        ) from None
    stated = lines.taken[0].strip().strip('"') if lines.taken else ""
    if stated[:4].lower() == "sep=" and len(stated) == 5:
        if stated[4] != delimiter:
            raise InputError(
                f"{path} says that its delimiter is {stated[4]!r}, and is read with {delimiter!r}. "
                "Set the delimiter."
            )
        header = next(cells, [])
    if not header:
        raise InputError(f"{path} is empty: it has no header.")
    for place, name in enumerate(header, 1):
        if not name.strip():
            raise InputError(
                f"In {path}, column {place} of {len(header)} has no name in the header, and "
                "would become a property without one. Name it or leave it out at its source"
                + (" (in pandas: to_csv(index=False))." if place == 1 else ".")
            )
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(
            f"{path} has two columns named {min(twice)!r}. Rename one of them at its source."
        )
    return header


def bad_row(lines: Lines, first: int, why: str) -> BadRecord:
    """The row at hand, which begins at that line."""
    last = first + max(1, len(lines.taken)) - 1
    where = f"Line {first}" if last == first else f"The row in lines {first} to {last}"
    text = "".join(lines.taken)[:SHOWN_CHARACTERS].rstrip("\r\n")
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return BadRecord(f"{where} {why}. Correct or remove it.", shown)
