"""`FileSource`: files of one format as a source."""

from __future__ import annotations

import concurrent.futures
import copy
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import UnreachableError, reached
from mixpanel_sink.read.files import match_sizes
from mixpanel_sink.read.given import patterns_of
from mixpanel_sink.read.listing import File
from mixpanel_sink.read.partitions import schema_with_keys, with_keys
from mixpanel_sink.read.selection import Selection, skipped
from mixpanel_sink.read.source import (
    ALL_COLUMNS,
    Columns,
    Element,
    Format,
    Planned,
    Source,
    Unit,
    first_rows,
    guarded,
    rows_in,
    together,
    unreadable_file,
)
from mixpanel_sink.results import FailedRecord

if TYPE_CHECKING:  # it needs Polars, which a proposal does without
    from mixpanel_sink.read.since import Since

_THREADS = 16


_SAMPLE_FILES = 100


_SAMPLE_UNITS = 5


class FileSource:
    """Files of one format.

    Args:
        patterns: paths, folders or globs; see `files.match_sizes`.
        format: of the files; by default that of the first one, by its name or its content.
        given: settings of the format where none is given, by name, and its name as `format`.
        selection: which rows are wanted; None for all.

    Raises:
        InputError: when its files are asked for, if there are none.
    """

    def __init__(
        self,
        patterns: str | Sequence[str],
        format: Format | None = None,
        given: Mapping[str, Any] | None = None,
        selection: Selection | None = None,
    ) -> None:
        self.selection = selection or Selection()
        self._skipped = (0, 0)
        self.patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._format = format
        self._given = dict(given or {})
        self._planned: Planned | None = None
        self.since: Since | None = None

    @functools.cached_property
    def files(self) -> Sequence[File]:
        """Paths, sizes, and when they were changed."""
        return match_sizes(self.patterns)

    @functools.cached_property
    def format(self) -> Format:
        """The format of all files."""
        from mixpanel_sink.read.registry import format_name, make_format

        if self._format is not None:
            return self._format
        given = dict(self._given)
        name = given.pop("format", None)
        return make_format(name or format_name(self.files[0].path), given)

    def file_count(self) -> int:
        """The number of files, readable or not."""
        return len(self.files)

    def unreadable_count(self) -> int:
        """The number of files of which not even the beginning can be read."""
        return sum(units is None for units in self._units.values())

    def schema(self) -> pa.Schema:
        """The columns of the first readable file."""
        return self._first(self.schema_of)

    def schema_of(self, path: str) -> pa.Schema:
        """One file's columns, and those that its path has."""
        with reached(path):
            return schema_with_keys(self.format.schema(path), path)

    def sample(self, rows: int) -> pa.Table:
        """The first readable file's first rows."""

        def first(path: str) -> Any:
            with reached(path):
                return with_keys(self.format.sample(path, rows), path, Columns(keys=True))

        return self._first(first)

    def row_count(self) -> int | None:
        """The rows of all readable files; None if a file does not say."""
        if self.selection.limit is not None:
            return None
        counts = [
            unit.rows for units in self._units.values() if units is not None for unit in units
        ]
        return None if None in counts else sum(count or 0 for count in counts)

    def estimated_rows(self) -> int:
        """The sum over all readable files, up to the limit."""
        rows = sum(self._rows_of(path) for path, units in self._units.items() if units is not None)
        return min(rows, self.selection.limit or rows)

    def elements(self, columns: Columns = ALL_COLUMNS, keep_text: bool = True) -> Iterator[Element]:
        """All rows, file by file."""
        yield from self._unreadable()
        readable = self._readable(self._and_since(columns), keep_text)
        if self.since is not None:
            readable = self.since.elements(readable)
        yield from self.selection.cut(readable)

    def spread(self, rows: int, columns: Columns = ALL_COLUMNS) -> Iterator[Element]:
        """Some rows, evenly spread over files and units; the first ones of each unit."""
        yield from self._unreadable()
        filled = [path for path, units in self._units.items() if units and self._rows_of(path)]
        chosen = _evenly(filled, _SAMPLE_FILES)
        if sum(map(self._rows_of, chosen)) < rows:
            chosen = filled
        takes = shares(rows, list(map(self._rows_of, chosen)))
        for path, take in zip(chosen, takes, strict=True):
            yield from self._spread_of(path, take, columns)

    def read(self, columns: Columns = ALL_COLUMNS, **options: Any) -> Any:
        """A transform that reads all rows on a pipeline's workers."""
        from mixpanel_sink.read.since_transform import ReadSince
        from mixpanel_sink.read.transform import ReadFiles

        read = ReadFiles(
            self.patterns,
            self.format,
            self._and_since(columns),
            selection=self.selection,
            planned=self._planned,
            **options,
        )
        return read if self.since is None else ReadSince(read, self.since)

    def only(
        self, files: Sequence[File], planned: Planned | None = None, since: Since | None = None
    ) -> FileSource:
        """The same source with some of its files.

        Args:
            files: these.
            planned: the plan that lists them, for workers.
            since: which rows of them are wanted; None for all.
        """
        made = copy.copy(self)
        for name in ("_looked", "_estimates"):
            vars(made).pop(name, None)
        made._skipped = (0, 0)
        made.files = files
        made._planned = planned
        made.since = since
        if since is not None:  # every row has to be seen
            made.selection = Selection()
        return made

    def read_as(self, format: Format, selection: Selection | None = None) -> FileSource:
        """The same files in a format, without listing them again."""
        made = copy.copy(self)
        vars(made).pop("format", None)
        made._format = format
        made.selection = selection or Selection()
        return made

    def skipped(self) -> tuple[int, int]:
        """Rows, and their stored bytes, that are not read: by the files' statistics none of them is
        wanted."""
        return self._skipped if self._looked else (0, 0)

    def files_skipped(self) -> int:
        """Files that are not opened: none of their partition's rows is wanted."""
        return sum(not self.selection.wants(file.path) for file in self.files)

    def _and_since(self, columns: Columns) -> Columns:
        """The columns, and the one that tells what came since."""
        if self.since is None:
            return columns
        name = self.since.time.name
        only = columns.only
        if only is not None and name not in only:
            only = (*only, name)
        return columns._replace(only=only, but=columns.but - {name})

    def _readable(self, columns: Columns, keep_text: bool) -> Iterator[Element]:
        for units in self._units.values():
            for unit in together(units or []):
                with reached(unit.path):
                    yield from guarded(self.format, unit, columns, keep_text)

    def _spread_of(self, path: str, rows: int, columns: Columns) -> Iterator[Element]:
        units: Sequence[Unit] = self._units[path] or []
        sizes = [self._rows_of(path) if unit.rows is None else unit.rows for unit in units]
        places = _evenly(range(len(units)), _SAMPLE_UNITS)
        if sum(sizes[place] for place in places) < rows:
            places = range(len(units))
        takes = shares(rows, [sizes[place] for place in places])
        for place, take in zip(places, takes, strict=True):
            with reached(path):
                yield from _first_rows(guarded(self.format, units[place], columns), take)

    @functools.cached_property
    def _looked(self) -> dict[str, list[Unit] | InputError]:
        paths = [path for path, *_ in self.files]
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            looked = dict(zip(paths, pool.map(self._look, paths), strict=True))
        for rows, size, _ in looked.values():
            self._skipped = (self._skipped[0] + rows, self._skipped[1] + size)
        return {path: found for path, (_, _, found) in looked.items()}

    def _look(self, path: str) -> tuple[int, int, list[Unit] | InputError]:
        try:
            with reached(path):
                units = self.selection.units_of(self.format, path)
                wanted = self.selection.units(self.format, path, units)
        except UnreachableError:
            raise
        except InputError as error:
            return 0, 0, error
        return *skipped(units, wanted), wanted

    @property
    def _units(self) -> dict[str, list[Unit] | None]:
        """By file; None for one that cannot be read."""
        return {
            path: None if isinstance(found, InputError) else found
            for path, found in self._looked.items()
        }

    def _unreadable(self) -> Iterator[FailedRecord]:
        for path, found in self._looked.items():
            if isinstance(found, InputError):
                yield unreadable_file(path, str(found))

    @functools.cached_property
    def _estimates(self) -> dict[str, int]:
        return {}

    def _rows_of(self, path: str) -> int:
        if path not in self._estimates:
            counts = [unit.rows for unit in self._units[path] or []]
            if None not in counts:
                self._estimates[path] = sum(count or 0 for count in counts)
            else:
                with reached(path):
                    self._estimates[path] = self.format.estimated_rows(path)
        return self._estimates[path]

    def _first(self, ask: Any) -> Any:
        wrong: InputError | None = None
        wanted = (file.path for file in self.files if self.selection.wants(file.path))
        for path in itertools.chain(wanted, (file.path for file in self.files)):
            try:
                return ask(path)
            except UnreachableError:
                raise
            except InputError as error:
                wrong = wrong or error
        raise wrong or InputError("There are no files.")


def _first_rows(elements: Iterator[Element], rows: int) -> Iterator[Element]:
    while rows > 0 and (element := next(elements, None)) is not None:
        if not isinstance(element, FailedRecord):
            element = first_rows(element, rows)
        rows -= rows_in(element)
        yield element


def _evenly(items: Sequence[Any], most: int) -> Sequence[Any]:
    if len(items) <= most:
        return items
    return [items[i * len(items) // most] for i in range(most)]


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """Shares of a total, as equal as they can be where none is larger than its size."""
    made = [0] * len(sizes)
    left = total
    by_size = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for place, i in enumerate(by_size):
        made[i] = min(sizes[i], -(-left // (len(sizes) - place)))
        left -= made[i]
    return made


def as_source(files: str | Sequence[str] | Source, mapping: Any) -> Source:
    """An input that is a source already, or files, read as their mapping says."""
    if isinstance(files, Source):
        return files
    return FileSource(patterns_of(files), given=getattr(mapping, "source", None))
