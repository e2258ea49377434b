"""JSON that is not an object a line: one array of objects, or objects one after another, which may
be written over several lines."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.lines import CHUNK_BYTES, check_line

FIRST_BYTES = 64 << 20
"""Most bytes of the first value, which shows the layout."""
VALUE_CHARACTERS = 256 << 20
"""Most characters of one value: a bracket that is never closed must not fill the memory."""
_BLANK = " \t\r\n"
_LONGEST_TOKEN = 40
"""Characters of a word or a number, which an error names where it begins."""


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def is_lines(file: Any) -> bool:
    """Whether a file, read from its beginning, has a value a line: its first value ends where its
    line does, and nothing but a comma follows it there.

    An array of objects is a value among others only if more lines follow it.
    """
    text = _Text(file)
    start = text.skip(_BLANK + "\ufeff")
    if start == "[":
        return _is_line_of_lines(text)
    while len(text.held) < FIRST_BYTES:
        rest = text.held[text.at :]
        try:
            _, end = _DECODER.raw_decode(rest)
        except ValueError as error:
            if _is_cut_off(error, rest) and text.fill():
                continue
            return True  # reading the lines will say what is wrong
        except RecursionError:
            return True
        if "\n" in rest[:end]:
            return False
        after = rest[end:].lstrip(" \t\r,")
        if after or not text.fill():
            return not after or after[0] == "\n"
    return False


def _is_line_of_lines(text: _Text) -> bool:
    while "\n" not in text.held[text.at :] and len(text.held) < FIRST_BYTES and text.fill():
        pass
    line, _, _ = text.held[text.at :].partition("\n")
    try:
        _, end = _DECODER.raw_decode(line)
    except (ValueError, RecursionError):
        return line[1:].lstrip(_BLANK)[:1] not in ("", "{", "]")
    text.take(end)
    return not line[end:].strip(_BLANK + ",") and text.skip(_BLANK + ",") is not None


def _is_cut_off(error: ValueError, text: str) -> bool:
    at = getattr(error, "pos", 0)
    return "Unterminated string" in str(error) or at >= len(text) - _LONGEST_TOKEN


def values_of(path: str, file: Any) -> Iterator[bytes]:
    """The text of each value: of an array's items, or of values one after another.

    Raises:
        InputError: where it stops being JSON, with the line.
    """
    text = _Text(file)
    within: bool | None = None
    while True:
        start = text.skip(_BLANK + "," if within is not None else _BLANK + "\ufeff")
        if start is None:
            if within:
                raise _broken(path, text, "the array is not closed")
            return
        if within is None:
            within = start == "["
            if within:
                text.take(1)
                continue
        if start == "]" and within:
            text.take(1)
            if text.skip(_BLANK) is not None:
                raise _broken(path, text, "something follows the array")
            return
        yield _next_value(path, text)


def _next_value(path: str, text: _Text) -> bytes:
    while True:
        try:
            _, end = _DECODER.raw_decode(text.held, text.at)
        except RecursionError:
            raise _broken(path, text, "it is nested too deep") from None
        except ValueError as error:
            if len(text.held) - text.at < VALUE_CHARACTERS and text.fill():
                continue
            raise _broken(path, text, str(error).partition(":")[0]) from None
        # A number may go on in what is not read yet.
        if end == len(text.held) and text.fill():
            continue
        return text.take(end - text.at).encode("utf-8", "surrogateescape")


def _broken(path: str, text: _Text, why: str) -> InputError:
    return InputError(
        f"{path} is not valid JSON from line {text.line} on ({why}); what comes before was read. "
        "Correct it at its source."
    )


class _Text:
    """A file's text, of which some is held."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.held = ""
        self.at = 0
        self.line = 1

    def fill(self) -> bool:
        """Reads at least as much again as is held, so that a long value is not looked at for ever;
        says whether there was any."""
        more = self._file.read(max(CHUNK_BYTES, len(self.held) - self.at))
        if not more:
            return False
        self.held = self.held[self.at :] + self._decoder.decode(bytes(more))
        self.at = 0
        check_line(len(self.held))
        return True

    def skip(self, characters: str) -> str | None:
        """Skips these; gives what follows, or None at the end."""
        while True:
            while self.at < len(self.held) and self.held[self.at] in characters:
                self.take(1)
            if self.at < len(self.held):
                return self.held[self.at]
            if not self.fill():
                return None

    def take(self, count: int) -> str:
        """The next characters."""
        taken = self.held[self.at : self.at + count]
        self.at += count
        self.line += taken.count("\n")
        return taken
