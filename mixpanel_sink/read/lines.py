"""Lines of text, from any open file: one by one, or many together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CHUNK_BYTES = 1 << 20
"""What is read from a file at once."""
MOST_LINE_BYTES = 100_000_000
"""A line, or a value over several, that is longer ends its file: memory holds it as a whole."""


def lines_of(file: Any) -> Iterator[bytes]:
    """Lines without their ends, from any file object."""
    pending: list[bytes] = []
    while chunk := file.read(CHUNK_BYTES):
        if b"\n" not in chunk:
            pending.append(chunk)
            check_line(len(pending) * CHUNK_BYTES)
            continue
        lines = b"".join([*pending, chunk]).split(b"\n")
        pending = [lines.pop()]
        yield from lines
    if rest := b"".join(pending):
        yield rest


def blocks_of(file: Any, size: int) -> Iterator[bytes]:
    """Whole lines, about so many bytes together, each with a line break at its end."""
    held: list[Any] = []
    while more := bytes(file.read(max(size, sum(map(len, held))))):
        if end := more.rfind(b"\n") + 1:
            yield b"".join([*held, memoryview(more)[:end]])
            held = [more[end:]]
        else:
            held.append(more)
        check_line(sum(map(len, held)))
    if rest := b"".join(held):
        yield rest + b"\n"


def check_line(size: int) -> None:
    """Stops reading a file whose line never ends, such as one that was packed to fill memory.

    Raises:
        ValueError: if a line has had too many bytes so far.
    """
    if size > MOST_LINE_BYTES:
        raise ValueError(f"a line is longer than {MOST_LINE_BYTES:,} bytes")


def without_mark(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The same without a byte order mark at the beginning."""
    for line in lines:
        yield line.removeprefix(b"\xef\xbb\xbf")
        break
    yield from lines
