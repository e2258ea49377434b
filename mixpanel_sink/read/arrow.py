"""Arrow's own files: IPC files (Feather version 2) and streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink.api.insert_ids import file_key
from mixpanel_sink.batch.origin import SLICE_ROWS, TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.files import fingerprint_of, opened_whole
from mixpanel_sink.read.source import Columns, Element, FormatOption, Unit, asked

FILE_MARK, FEATHER_1 = b"ARROW1", b"FEA1"


@dataclasses.dataclass(frozen=True)
class ArrowFiles:
    """Reads Arrow IPC as tables, record batch by record batch."""

    name: ClassVar[str] = "Arrow"
    states_columns: ClassVar[bool] = True
    states_types: ClassVar[bool] = True
    options: ClassVar[tuple[FormatOption, ...]] = ()

    def schema(self, path: str) -> pa.Schema:
        """The columns of the file."""
        return self._ask(path, lambda batches: batches.schema)

    def sample(self, path: str, rows: int) -> pa.Table:
        """The first rows."""
        return self._ask(path, lambda batches: batches.first(rows))

    def units(self, path: str) -> list[Unit]:
        """The file: how many rows a batch has, only reading it tells."""
        self.schema(path)
        return [Unit(path, file_key(path, fingerprint_of(path)))]

    def estimated_rows(self, path: str) -> int:
        """An estimate as if all batches were like the first; those of a stream are counted."""
        return int(self._ask(path, lambda batches: batches.estimated_rows()))

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """Tables of up to 50,000 rows."""
        row = unit.first_row
        with opened_whole(unit.path) as file:
            for table in _Batches(file, columns).tables():
                yield TableOrigin(unit.path, unit.key, row).attach(table)
                row += len(table)

    def _ask(self, path: str, question: Any) -> Any:
        def answer() -> Any:
            with opened_whole(path) as file:
                return question(_Batches(file, Columns()))

        return asked(self.name, path, answer)


class _Batches:
    """The record batches of a file or a stream."""

    def __init__(self, file: Any, columns: Columns) -> None:
        beginning = bytes(file.read(8))
        file.seek(0)
        if beginning.startswith(FEATHER_1):
            raise InputError(
                "The file is Feather version 1, which is no longer written. Read it with pandas, "
                "and write it as Parquet."
            )
        is_file = beginning.startswith(FILE_MARK)
        source = pa.PythonFile(file, "r")
        whole = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source)
        self._count = whole.num_record_batches if is_file else None
        self.schema = whole.schema
        wanted = columns.of(whole.schema.names)
        if wanted is not None:
            fields = [whole.schema.get_field_index(name) for name in wanted]
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            file.seek(0)
            opening = pa.ipc.open_file if is_file else pa.ipc.open_stream
            whole = opening(source, options=options)
        self._whole = whole

    def tables(self) -> Iterator[pa.Table]:
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._batches():
            held.append(batch)
            rows += len(batch)
            if rows >= SLICE_ROWS:
                yield from _slices(held)
                held, rows = [], 0
        if rows:
            yield from _slices(held)

    def first(self, rows: int) -> pa.Table:
        held: list[pa.RecordBatch] = []
        for batch in self._batches():
            held.append(batch)
            if sum(map(len, held)) >= rows:
                break
        return pa.Table.from_batches(held, self.schema).slice(0, rows)

    def estimated_rows(self) -> int:
        if self._count is None:
            return sum(map(len, self._batches()))
        return len(self._whole.get_batch(0)) * self._count if self._count else 0

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._count is None:
            yield from self._whole
            return
        for number in range(self._count):
            yield self._whole.get_batch(number)


def _slices(batches: list[pa.RecordBatch]) -> Iterator[pa.Table]:
    table = pa.Table.from_batches(batches)
    for start in range(0, len(table), SLICE_ROWS):
        yield table.slice(start, SLICE_ROWS)
