"""Delta Lake tables as an input, by deltalake: `delta:FOLDER`, local or of any cloud storage that
it knows (`delta:gs://bucket/orders`). Its files are read side by side."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink import extras
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.connection import is_passing, short
from mixpanel_sink.read.tables import Look, TableSource

SCHEME = "delta:"


@dataclasses.dataclass(frozen=True)
class DeltaFolder:
    """A Delta table, at one of its versions.

    Attributes:
        folder: that has `_delta_log`.
        version: of the table; None for the newest.
    """

    folder: str
    version: int | None = None

    kind: ClassVar[str] = "Delta Lake"
    element_type: ClassVar[Any] = pa.Table
    in_turns: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The table's address."""
        return SCHEME + self.folder

    def look(self) -> Look:
        """The newest version, which is read from then on."""
        with errors_of(self.name):
            table = self._open()
            fixed = dataclasses.replace(self, version=table.version())
            dataset = table.to_pyarrow_dataset()
            return Look(fixed, dataset.schema, dataset.count_rows())

    def parts(self, columns: Sequence[str] | None) -> Iterator[bytes]:
        """The files of the table."""
        with errors_of(self.name):
            table = self._open()
            chosen = "" if columns is None else "\n".join(columns)
            for fragment in table.to_pyarrow_dataset().get_fragments():
                yield f"{table.version()}\0{fragment.path}\0{chosen}".encode()

    def elements(self, part: bytes) -> Iterator[pa.Table]:
        """The rows of one file."""
        version, path, chosen = part.decode().split("\0")
        with errors_of(self.name):
            dataset = dataclasses.replace(self, version=int(version))._open().to_pyarrow_dataset()
            (fragment,) = (each for each in dataset.get_fragments() if each.path == path)
            columns = chosen.split("\n") if chosen else dataset.schema.names
            for batch in fragment.to_batches(schema=dataset.schema, columns=columns):
                if len(batch):
                    yield pa.Table.from_batches([batch])

    def _open(self) -> Any:
        extras.require(self.name)
        from deltalake import DeltaTable

        return DeltaTable(self.folder, version=self.version)


@contextlib.contextmanager
def errors_of(name: str) -> Iterator[None]:
    """One sentence for whatever the library of a table's format raises."""
    try:
        yield
    except (SettingError, InputError, GeneratorExit):
        raise
    except Exception as error:  # of the library, the disk and each cloud's client
        if is_passing(error):
            raise
        raise InputError(
            f"{name} cannot be read as a table ({short(error)}). Check the address, and that the "
            "account may read it."
        ) from None


def source_at(address: str, given: Mapping[str, Any]) -> TableSource:
    """The table at `delta:FOLDER`.

    Raises:
        SettingError: for options that are BigQuery's.
    """
    refuse_options(address, given)
    return TableSource(DeltaFolder(address.removeprefix(SCHEME)))


def refuse_options(address: str, given: Mapping[str, Any]) -> None:
    """Refuses options that another kind of table has.

    Raises:
        SettingError: names one.
    """
    for name in given:
        raise SettingError(f"--{name} is for BigQuery, and the input is {address}.")
