"""`ReadRecords`: files to blocks of records that know their place."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from blake3 import blake3

from mixpanel_sink import coders
from mixpanel_sink.api.insert_ids import file_key
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.parquet import FAILED, is_passing, match_files, short, unreadable_file
from mixpanel_sink.report import metrics
from mixpanel_sink.results import FailedRecord, record_as_json

coders.register()

BLOCK_RECORDS = 10_000
"""Records of one block."""
CHUNK_BYTES = 1 << 20
"""What is read from a file at once."""
_EDGE_BYTES = 1 << 16


class BadRecord(NamedTuple):
    """What should be a record and cannot be read as one.

    Attributes:
        message: cause and mend in a sentence.
        text: as it stands in the file; None if it cannot be shown.
    """

    message: str
    text: str | None


class Reader(Protocol):
    """What a kind of file is read with. Picklable."""

    def columns(self, path: str) -> list[str]:
        """The columns that the file's beginning shows, to check a mapping before anything is
        sent. Raises what reading the file raises."""
        ...

    def rows(self, path: str) -> Iterator[tuple[int, dict[str, Any] | BadRecord]]:
        """Records in their order, each with its row, counted from 0. Rows may leave gaps."""
        ...


class RecordsResult(NamedTuple):
    """Records, with those that are bad; and one failed record for each file that cannot be read
    to its end."""

    records: Any
    failed: Any


class ReadRecords(beam.PTransform):
    """Reads files as `RecordBlock`s, for `WriteToMixpanel`.

    A bad record is a `FailedRecord` among them (`line_unreadable`), which the sink counts as read
    and as failed, so that its books balance. One worker reads one file.

    Args:
        patterns: paths or globs, local or of any file system that Beam knows (gs://); names that
            end in .gz are unpacked.
        reader: of this kind of files.
        keep_text: whether a failed record holds the text of a bad one. Not where columns of it
            must not leave the workers.

    Returns:
        RecordsResult: records and unreadable files.
    """

    def __init__(
        self, patterns: str | Sequence[str], reader: Reader, keep_text: bool = True
    ) -> None:
        super().__init__()
        self._patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._reader = reader
        self._keep_text = keep_text

    def expand(self, pbegin: Any) -> RecordsResult:
        """Builds the flow: patterns, files, blocks."""
        read = (
            pbegin
            | "Patterns" >> beam.Create(self._patterns)
            | "Match" >> beam.FlatMap(match_files).with_output_types(str)
            | "Spread files" >> beam.Reshuffle()
            | "Read"
            >> beam.ParDo(_ReadFile(self._reader, self._keep_text)).with_outputs(
                FAILED, main="records"
            )
        )
        read.records.element_type = (
            RecordBlock  # for its coder; there are failed records among them
        )
        read[FAILED].element_type = FailedRecord
        return RecordsResult(read.records, read[FAILED])


class _ReadFile(beam.DoFn):
    def __init__(self, reader: Reader, keep_text: bool) -> None:
        self._reader = reader
        self._keep_text = keep_text

    def process(self, path: str) -> Iterator[Any]:
        elements = self._elements(path)
        while True:
            try:
                element = next(elements, None)
            except Exception as error:  # of formats, of the disk, and of each cloud's client
                if is_passing(error):
                    raise
                message = f"{path} cannot be read, or not to its end ({short(error)})."
                if isinstance(error, InputError):  # it says all itself
                    message = str(error)
                yield unreadable_file(path, message)
                return
            if element is None:
                metrics.count("files_read")
                return
            yield element

    def _elements(self, path: str) -> Iterator[Any]:
        key = file_key(path, fingerprint_of(path))
        return elements_of(self._reader.rows(path), path, key, self._keep_text)


def elements_of(
    rows: Iterable[tuple[int, dict[str, Any] | BadRecord]], path: str, key: str, keep_text: bool
) -> Iterator[RecordBlock | FailedRecord]:
    """Blocks of the good records, and a failed record for each bad one.

    Neither a gap between rows nor a bad record ends a block: a file of which every other line is
    empty or bad would be sent record by record. So a bad record may come before its neighbours.
    """
    block: list[dict[str, Any]] = []
    places: list[int] = []
    try:
        for row, record in rows:
            if isinstance(record, BadRecord):
                text = record.text if keep_text else None
                yield FailedRecord(
                    reason="line_unreadable",
                    message=record.message,
                    record_json=None if text is None else record_as_json(text),
                    file=path,
                    row=row,
                )
                continue
            block.append(record)
            places.append(row)
            if len(block) >= BLOCK_RECORDS:
                yield _block(block, places, path, key)
                block, places = [], []
    except Exception:  # the file breaks off: what came before is good
        if block:
            yield _block(block, places, path, key)
        raise
    if block:
        yield _block(block, places, path, key)


def _block(records: list[dict[str, Any]], places: list[int], path: str, key: str) -> RecordBlock:
    first = places[0]
    gaps = places != list(range(first, first + len(places)))
    offsets = [row - first for row in places] if gaps else None
    return RecordBlock(records, TableOrigin(path, key, first), offsets)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A file for reading bytes, unpacked if its name ends in .gz.

    Beam's own unpacking takes a file that breaks off for a whole one.
    """
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
        else:
            yield file


def fingerprint_of(path: str) -> bytes:
    """What tells a file from another under the same path: its size, its beginning and its end."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        size = file.seek(0, os.SEEK_END) or file.tell()
        file.seek(0)
        beginning = file.read(_EDGE_BYTES)
        file.seek(max(0, size - _EDGE_BYTES))
        return blake3(b"%d\0%b\0%b" % (size, beginning, file.read(_EDGE_BYTES))).digest()


def lines_of(file: Any) -> Iterator[bytes]:
    """Lines without their ends, from any file object."""
    pending: list[bytes] = []
    while chunk := file.read(CHUNK_BYTES):
        if b"\n" not in chunk:
            pending.append(chunk)
            continue
        lines = b"".join([*pending, chunk]).split(b"\n")
        pending = [lines.pop()]
        yield from lines
    if rest := b"".join(pending):
        yield rest


def without_mark(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The same without a byte order mark at the beginning."""
    for line in lines:
        yield line.removeprefix(b"\xef\xbb\xbf")
        break
    yield from lines


def checked_columns(reader: Reader, path: str) -> list[str]:
    """The file's columns.

    Raises:
        InputError: if it cannot be read as such a file.
    """
    try:
        return reader.columns(path)
    except InputError:
        raise
    except Exception as error:  # of formats, of the disk, and of each cloud's client
        raise InputError(
            f"{path} cannot be read ({short(error)}). Check that it is whole, and of this kind."
        ) from None
