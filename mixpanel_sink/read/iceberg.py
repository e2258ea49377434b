"""Iceberg tables as an input, by pyiceberg and without a catalog: `iceberg:FOLDER`, of which the
newest metadata counts, or the address of one `.metadata.json`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink import extras
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.delta import errors_of, refuse_options
from mixpanel_sink.read.files import match_files
from mixpanel_sink.read.tables import Look, TableSource

SCHEME = "iceberg:"
_SUFFIX = ".metadata.json"


@dataclasses.dataclass(frozen=True)
class IcebergTable:
    """An Iceberg table, as one metadata file describes it.

    Attributes:
        place: the table's folder, or the metadata file.
    """

    place: str

    kind: ClassVar[str] = "Iceberg"
    element_type: ClassVar[Any] = pa.Table
    in_turns: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The table's address."""
        return SCHEME + self.place

    def look(self) -> Look:
        """The newest metadata, which is read from then on."""
        fixed = dataclasses.replace(self, place=self._metadata())
        with errors_of(self.name):
            scan = fixed._open().scan()
            return Look(fixed, scan.to_arrow_batch_reader().schema, scan.count())

    def parts(self, columns: Sequence[str] | None) -> Iterator[bytes]:
        """The whole table as one part: pyiceberg reads its files in parallel."""
        yield "\n".join(["*"] if columns is None else columns).encode()

    def elements(self, part: bytes) -> Iterator[pa.Table]:
        """The rows, with deletes applied."""
        fields = tuple(part.decode().split("\n"))
        with errors_of(self.name):
            for batch in self._open().scan(selected_fields=fields).to_arrow_batch_reader():
                if len(batch):
                    yield pa.Table.from_batches([batch])

    def _open(self) -> Any:
        extras.require(self.name)
        from pyiceberg.table import StaticTable

        return StaticTable.from_metadata(self._metadata())

    def _metadata(self) -> str:
        """The newest metadata file.

        Raises:
            InputError: if there is none.
        """
        if self.place.endswith(_SUFFIX):
            return self.place
        pattern = f"{self.place.rstrip('/')}/metadata/*{_SUFFIX}"
        try:
            return max(match_files(pattern), key=_number)
        except InputError:
            raise InputError(
                f"{self.name} is not an Iceberg table: no file matches {pattern}."
            ) from None


def _number(path: str) -> int:
    """Of a metadata file such as 00003-4f....metadata.json or v3.metadata.json."""
    found = re.match(r"v?(\d+)", path.rpartition("/")[2])
    return int(found[1]) if found else -1


def source_at(address: str, given: Mapping[str, Any]) -> TableSource:
    """The table at `iceberg:FOLDER`, or at its metadata file.

    Raises:
        SettingError: for options that are BigQuery's.
    """
    refuse_options(address, given)
    return TableSource(IcebergTable(address.removeprefix(SCHEME)))
