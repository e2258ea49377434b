"""`ReadAllParquetTables`: Parquet files whose paths a pipeline finds out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.fileio import EmptyMatchTreatment

from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.files import match_some
from mixpanel_sink.read.given import names_of
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.source import Columns
from mixpanel_sink.read.transform import ReadFiles, TablesResult

_TREATMENTS = ("ALLOW", "ALLOW_IF_WILDCARD", "DISALLOW")


class ReadAllParquetTables(beam.PTransform):
    """`ReadParquetTables` for a PCollection of paths, folders or globs, such as the names that a
    table or a queue gives. In a stream, too.

    Args:
        columns: the columns to read; None for all. The keys of Hive's partitions in a path are
            columns, too.
        empty_match_treatment: one of Beam's `EmptyMatchTreatment`: whether a path that matches
            nothing fails the pipeline. By default only a glob may match nothing.

    Returns:
        TablesResult: tables and unreadable files.

    Raises:
        SettingError: when it is made, if the treatment is not one of Beam's.
        InputError: on the workers, if a path matches nothing and must.
    """

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        empty_match_treatment: str = EmptyMatchTreatment.ALLOW_IF_WILDCARD,
    ) -> None:
        super().__init__()
        if empty_match_treatment not in _TREATMENTS:
            raise SettingError(
                f"empty_match_treatment is {empty_match_treatment!r}, and must be one of: "
                f"{', '.join(_TREATMENTS)}."
            )
        self._treatment = empty_match_treatment
        wanted = Columns(names_of("columns", columns), keys=True)
        self._read = ReadFiles([], Parquet(), wanted)

    def expand(self, patterns: Any) -> TablesResult:
        """Builds the flow: paths, files, row groups, tables."""
        matching = beam.FlatMap(match_some, self._treatment).with_output_types(str)
        return TablesResult(*self._read.of_paths(patterns | "Match" >> matching)[:2])

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        own = {"empty_match_treatment": self._treatment}
        return {**self._read.display_data(), **own}
