"""The manifest: which files a checkpoint's imports have brought to Mixpanel, and by which runs.

    manifest.json            the pointer: runs, watermarks, and which segments count
    files-ID.parquet         segments: a row for each imported file; the newest row of a path counts
    plan-RUN.parquet         the files that a run is to read

Segments are never changed. A run writes a new one, then the pointer, then removes what the pointer
names no more: whenever it is killed, the pointer names whole files. Segments of about the same
size are merged, so that there are few, whatever the number of runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from mixpanel_sink.checkpoint.counts import path_key
from mixpanel_sink.checkpoint.stored import ABSENT, Changed, Folder
from mixpanel_sink.errors import CheckpointError

VERSION = 1
NAME = "manifest.json"
SEGMENT, PLAN = "files-", "plan-"
_TOGETHER = 1 << 16
"""Rows that are read at once."""
KEPT_RUNS = 1000
"""Runs that the pointer tells of; of earlier ones only the files are known."""
FILES = pa.schema(
    {
        "key": pa.uint64(),
        "path": pa.string(),
        "size": pa.int64(),
        "changed": pa.float64(),
        "mark": pa.binary(),
        "read": pa.int64(),
        "failed": pa.int64(),
        "at": pa.float64(),
        "run": pa.string(),
    }
)
"""Columns of a segment: `counts.path_key`, path, bytes, last change as the file system tells it, a
mark of the content, records read and failed, when it was imported and by which run. A file that
was moved has a row under its new path; that of the old one stays, and its bytes are `MOVED`."""
MOVED = -1
PLANNED = pa.schema(
    {"path": pa.string(), "size": pa.int64(), "changed": pa.float64(), "like": pa.string()}
)
"""Columns of a plan; `like` is the path of the imported file that this one is, if it need not be
read."""
_MADE = b"made"
"""In a plan's metadata: when it was made, in seconds since 1970."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A file of rows of `FILES`: its name, rows and digest."""

    name: str
    rows: int
    digest: str


@dataclasses.dataclass(frozen=True)
class RunNote:
    """What a run did.

    Attributes:
        run: its name.
        kind: "import" or "replay".
        started, ended: seconds since 1970; `ended` is None of a run that has not come to its end.
        files: that it has brought to their end.
        left: files that it was to bring, and that are not complete.
        left_paths: some of them.
        late_paths: of them, those with rows that came too late for `--since`.
        read, failed: records of complete files; of a table's rows.
        failed_output: the prefix under which it kept failed records.
        inputs: files of failed records that a replay sent.
        mapping: the mark of the mapping.
    """

    run: str
    kind: str = "import"
    started: float = 0.0
    ended: float | None = None
    files: int = 0
    left: int = 0
    left_paths: tuple[str, ...] = ()
    late_paths: tuple[str, ...] = ()
    read: int = 0
    failed: int = 0
    failed_output: str = ""
    inputs: tuple[str, ...] = ()
    mapping: str = ""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> RunNote:
        """A note from JSON, also of earlier versions."""
        names = ("left_paths", "late_paths", "inputs")
        lists = {name: tuple(stored.get(name, ())) for name in names}
        return cls(**{**stored, **lists})

    def ending(self, read: int, failed: int) -> RunNote:
        """The same at its end, now: not before its start, even where a clock was set back."""
        ended = max(self.started, time.time())
        return dataclasses.replace(self, ended=ended, read=read, failed=failed)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The pointer.

    Attributes:
        mapping: the settings that make events, as YAML would have them; None before the first run.
        segments: from the oldest to the newest.
        runs: that ended, from the oldest to the newest.
        open: the run that is under way, or was killed.
        watermarks: of tables and files: by "table column" or "path column", the largest value that
            was imported; of files see `checkpoint.since`.
        generation: of the file as it was read, for `save`.
    """

    mapping: Any = None
    segments: tuple[Segment, ...] = ()
    runs: tuple[RunNote, ...] = ()
    open: RunNote | None = None
    watermarks: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    generation: Any = ABSENT

    @property
    def is_unused(self) -> bool:
        """Whether no run has come to its end yet."""
        return not (self.segments or self.runs or self.watermarks)

    @classmethod
    def load(cls, folder: Folder) -> Manifest:
        """The manifest of a checkpoint; an empty one if there is none.

        Raises:
            CheckpointError: if it is damaged or of another version, or cannot be read.
        """
        with usable(folder):
            found = folder.stored(NAME)
        if found is None:
            return cls()
        try:
            stored = orjson.loads(found.data)
            version = int(stored.pop("version"))
        except (ValueError, TypeError, LookupError, AttributeError):
            raise damaged(folder, NAME) from None
        if version != VERSION:
            age = "a newer" if version > VERSION else "an older"
            raise CheckpointError(
                f"The manifest of the checkpoint {folder.path} was written by {age} version of "
                f"mixpanel_sink (format {version}; this one has {VERSION}). Use that version, or "
                "give another folder."
            )
        try:
            return cls(
                stored["mapping"],
                tuple(Segment(**each) for each in stored["segments"]),
                tuple(RunNote.of(each) for each in stored["runs"]),
                None if stored["open"] is None else RunNote.of(stored["open"]),
                stored["watermarks"],
                found.version,
            )
        except (TypeError, LookupError):
            raise damaged(folder, NAME) from None

    def save(self, folder: Folder) -> Manifest:
        """Writes it, unless it has changed since it was read; returns what is stored now.

        Raises:
            Changed: if it has.
            CheckpointError: if it cannot be written.
        """
        stored = {"version": VERSION, **dataclasses.asdict(self)}
        del stored["generation"]
        stored["runs"] = stored["runs"][-KEPT_RUNS:]
        with usable(folder):
            generation = folder.write(NAME, orjson.dumps(stored), self.generation)
        return dataclasses.replace(self, generation=generation)

    def without(self, folder: Folder, keys: Any) -> Manifest:
        """The same without the rows of some files, by `counts.path_key`; not saved yet."""
        table = self.files(folder)
        kept = table.filter(pa.array(~np.isin(table["key"].to_numpy(), keys)))
        segments = (write_segment(folder, kept),) if len(kept) else ()
        return dataclasses.replace(self, segments=segments)

    def files(self, folder: Folder, columns: Sequence[str] = FILES.names) -> pa.Table:
        """The newest row of each imported file, with these columns and `key`. Their order depends
        on nothing but the manifest.

        Raises:
            CheckpointError: if a segment is missing or damaged.
        """
        wanted = list(dict.fromkeys(["key", *columns]))
        parts = [read_segment(folder, each, wanted) for each in self.segments]
        return newest(pa.concat_tables(parts) if parts else FILES.empty_table().select(wanted))


def read_segment(folder: Folder, segment: Segment, columns: Sequence[str] | None = None) -> Any:
    """A segment's rows.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    with usable(folder):
        found = folder.stored(segment.name)
    if found is None or blake3(found.data).hexdigest() != segment.digest:
        raise damaged(folder, segment.name)
    file = pq.ParquetFile(pa.BufferReader(found.data))
    wanted = list(file.schema_arrow.names if columns is None else columns)
    # In parts: reading whole columns takes several times their memory meanwhile.
    parts = file.iter_batches(_TOGETHER, columns=wanted, use_threads=False)
    schema = pa.schema([field for field in file.schema_arrow if field.name in wanted])
    return pa.Table.from_batches(parts, schema).select(wanted)


def write_segment(folder: Folder, table: pa.Table) -> Segment:
    """Writes rows of `FILES` as a new segment."""
    data = _packed(table.sort_by("path"), ["run"])
    name = f"{SEGMENT}{uuid.uuid4().hex}.parquet"
    with usable(folder):
        folder.write(name, data, ABSENT)
    return Segment(name, len(table), blake3(data).hexdigest())


def with_files(folder: Folder, segments: Sequence[Segment], table: pa.Table) -> tuple[Segment, ...]:
    """The segments with more rows: a new one, with which earlier ones are merged that are not
    twice as large, so that there are as many as the number of files has binary digits, at most."""
    kept = list(segments)
    parts = [table]
    rows = len(table)
    while kept and kept[-1].rows < 2 * rows:
        last = kept.pop()
        parts.insert(0, read_segment(folder, last))
        rows += last.rows
    if not rows:
        return tuple(segments)
    merged = newest(pa.concat_tables(parts)) if len(parts) > 1 else table
    return (*kept, write_segment(folder, merged))


def newest(table: pa.Table) -> pa.Table:
    """The last row of each path."""
    keys = table["key"].to_numpy()
    in_order = np.sort(keys)
    if not (in_order[1:] == in_order[:-1]).any():
        return table
    last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
    return table.take(np.sort(last))


def write_plan(
    folder: Folder,
    run: str,
    files: Iterable[tuple[str, int, float]],
    same: Iterable[tuple[tuple[str, int, float], str]] = (),
) -> None:
    """Writes what a run is to read, and which files are imported ones in a new place."""
    rows = [*((*each, None) for each in files), *((*each, like) for each, like in same)]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    schema = PLANNED.with_metadata({_MADE: repr(time.time())})
    with usable(folder):
        folder.write(f"{PLAN}{run}.parquet", _packed(pa.table(columns, schema=schema), []))


def read_plan(folder: Folder, run: str) -> pa.Table:
    """What a run is to read.

    Raises:
        CheckpointError: if it is gone.
    """
    with usable(folder):
        found = folder.stored(f"{PLAN}{run}.parquet")
    if found is None:
        raise damaged(folder, f"{PLAN}{run}.parquet")
    return pq.read_table(io.BytesIO(found.data))


def left_of_plan(folder: Folder, run: str, files: pa.Table) -> dict[int, str]:
    """The files of a plan that no run has imported since it was made, by `counts.path_key`. One
    that was imported before is in a plan because it has changed.

    Args:
        folder: of the checkpoint.
        run: whose plan it is.
        files: that were imported: key and at.

    Raises:
        CheckpointError: if the plan is gone.
    """
    plan = read_plan(folder, run)
    made = float((plan.schema.metadata or {}).get(_MADE, 0))
    paths = plan["path"].filter(pc.is_null(plan["like"])).to_pylist()
    keys = [path_key(path) for path in paths]
    places = pc.index_in(pa.array(keys, pa.uint64()), files["key"].combine_chunks())
    is_left = pc.fill_null(pc.less(files["at"].take(places), made), True).to_pylist()
    return {key: path for key, path, left in zip(keys, paths, is_left, strict=True) if left}


def _packed(table: pa.Table, dictionaries: list[str]) -> bytes:
    sink = io.BytesIO()
    encodings = {"path": "DELTA_BYTE_ARRAY"}  # neighbours share most of their path
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=dictionaries,
        column_encoding=encodings,
        write_statistics=False,
    )
    return sink.getvalue()


def damaged(folder: Folder, name: str) -> CheckpointError:
    """What to raise for a file of the manifest that makes no sense."""
    return CheckpointError(
        f"The checkpoint {folder.path} is damaged: its {name} is missing or not as it was written. "
        "Restore it, or give another folder: then everything is sent again."
    )


@contextlib.contextmanager
def usable(folder: Folder) -> Iterator[None]:
    """Turns the error of a file system into one sentence.

    Raises:
        CheckpointError: instead of that.
    """
    try:
        yield
    except (CheckpointError, Changed):
        raise
    except Exception as error:  # OSError, and what each cloud's client raises
        raise _unusable(folder, error) from None


def _unusable(folder: Folder, error: Exception) -> CheckpointError:
    said = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
    return CheckpointError(
        f"The checkpoint {folder.path} cannot be used ({said or type(error).__name__}). Check the "
        "folder and its permissions."
    )
