"""ORC files, as Hive and Spark write them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink.api.insert_ids import file_key
from mixpanel_sink.batch.origin import SLICE_ROWS, TableOrigin
from mixpanel_sink.read.files import fingerprint_of, opened_whole
from mixpanel_sink.read.source import Columns, Element, FormatOption, Unit, asked


@dataclasses.dataclass(frozen=True)
class Orc:
    """Reads ORC as Arrow tables, stripe by stripe."""

    name: ClassVar[str] = "ORC"
    states_columns: ClassVar[bool] = True
    states_types: ClassVar[bool] = True
    options: ClassVar[tuple[FormatOption, ...]] = ()

    def schema(self, path: str) -> pa.Schema:
        """The columns of the file."""
        return self._ask(path, lambda file: file.schema)

    def sample(self, path: str, rows: int) -> pa.Table:
        """The first rows of the first stripe."""
        return self._ask(path, lambda file: _stripe(file, 0, None).slice(0, rows))

    def units(self, path: str) -> list[Unit]:
        """The file: where a stripe begins, only reading it tells."""
        rows = self._ask(path, lambda file: file.nrows)
        return [Unit(path, file_key(path, fingerprint_of(path)), rows=rows)]

    def estimated_rows(self, path: str) -> int:
        """The number of rows, as the file tells it."""
        return int(self._ask(path, lambda file: file.nrows))

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """Tables of up to 50,000 rows."""
        row = unit.first_row
        with opened_whole(unit.path) as opened:
            file = _orc(opened)
            wanted = columns.of(file.schema.names)
            for number in range(file.nstripes):
                stripe = _stripe(file, number, wanted)
                for start in range(0, len(stripe), SLICE_ROWS):
                    table = stripe.slice(start, SLICE_ROWS)
                    yield TableOrigin(unit.path, unit.key, row).attach(table)
                    row += len(table)

    def _ask(self, path: str, question: Any) -> Any:
        def answer() -> Any:
            with opened_whole(path) as opened:
                return question(_orc(opened))

        return asked(self.name, path, answer)


def _orc(file: Any) -> Any:
    from pyarrow import orc

    # pyarrow takes some files that break off for files without rows.
    file.seek(-min(4, file.seek(0, os.SEEK_END) or file.tell()), os.SEEK_END)
    if file.read(3) != b"ORC":
        raise ValueError("its end is missing")
    file.seek(0)
    return orc.ORCFile(file)


def _stripe(file: Any, number: int, columns: list[str] | None) -> pa.Table:
    if not file.nstripes:
        return file.schema.empty_table()
    return pa.Table.from_batches([file.read_stripe(number, columns)])
