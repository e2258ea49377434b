"""The end of a run: its complete files enter the manifest, and the log of chunks is compacted.

Everything is written before the pointer names it, and removed after the pointer has let it go. So a
run may be killed at any moment, and a runner may try a commit again.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.checkpoint import lease, manifest, since
from mixpanel_sink.checkpoint.compact import compact
from mixpanel_sink.checkpoint.counts import FileCounts, path_key
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.manifest import Manifest, RunNote
from mixpanel_sink.checkpoint.stored import Changed, Folder, delete_all
from mixpanel_sink.errors import CheckpointError

_T = TypeVar("_T")
SeenOf = Mapping[str, since.Seen]
"""What was seen of each file."""
_NAMED = 20
"""Incomplete files that a run names."""


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run that has the lease of a checkpoint, as its workers know it. Picklable.

    Attributes:
        path: of the checkpoint.
        note: of the run.
        keeps_failed: whether it keeps failed records: else a file with some is not complete.
        planned: whether it reads the files of a plan; else a table.
        watermark: the name of a table's watermark that it moves; "" for none.
        since: the column that tells which rows of files are new; "" for none.
        step: its overlap, in its units.
    """

    path: str
    note: RunNote
    keeps_failed: bool = False
    planned: bool = False
    watermark: str = ""
    since: str = ""
    step: int = 0

    @property
    def run(self) -> str:
        """The run's name, which its lease has, too."""
        return self.note.run


def begin(folder: Folder, known: Manifest, run: OpenRun, mapping: Any) -> Manifest:
    """Records that a run is under way, with its mapping.

    Raises:
        CheckpointError: if another run has come between, or it cannot be written.
    """
    try:
        return dataclasses.replace(known, open=run.note, mapping=mapping).save(folder)
    except Changed:
        raise CheckpointError(
            f"Another run has written to the checkpoint {folder.path} at the same time. Run the "
            "same command again."
        ) from None


def commit(
    run: OpenRun, counts: FileCounts, watermark: Any = None, seen: SeenOf | None = None
) -> RunNote:
    """Ends a run whose records are all accounted for, and gives its lease back.

    Args:
        run: that ends.
        counts: of its files.
        watermark: the largest value that a table had.
        seen: of each file, where a column tells which of its rows are new.

    Raises:
        CheckpointError: if another run has taken the lease, or it cannot be written.
    """
    note = _again(lambda: _commit(open_folder(run.path), run, counts, watermark, seen or {}))
    with contextlib.suppress(Exception):  # of each cloud's client; it expires
        lease.release(open_folder(run.path), run.run)
    return note


def _commit(
    folder: Folder, run: OpenRun, counts: FileCounts, watermark: Any, seen: SeenOf
) -> RunNote:
    known = Manifest.load(folder)
    done = next((each for each in known.runs if each.run == run.run), None)
    if done is not None:  # a runner tries again
        return done
    lease.check(folder, run.run)
    note = run.note.ending(counts.total("read"), counts.total("failed"))
    open_keys: set[int] = set()
    table = manifest.FILES.empty_table()
    if run.planned:
        table, note, open_keys = _complete(folder, known, run, note, counts, seen)
    is_lost = not run.keeps_failed and bool(counts.total("failed"))
    is_open = bool(counts.total("open")) or bool(open_keys) or is_lost
    watermarks = dict(known.watermarks)
    if run.since:
        complete = set(table["path"].to_pylist())
        seen = {path: found for path, found in seen.items() if path in complete}
        last = _last_imports(folder, known, seen)
        since.move(watermarks, run.since, run.step, seen, note.late_paths, last, run.run)
    if run.planned:
        since.rename(watermarks, _moved(folder, run.run))
    if run.watermark and watermark is not None and not is_open:
        watermarks[run.watermark] = {"value": watermark, "at": note.ended, "run": run.run}
    segments = manifest.with_files(folder, known.segments, table)
    known = dataclasses.replace(
        known, segments=segments, runs=(*known.runs, note), open=None, watermarks=watermarks
    ).save(folder)
    mine = [f"{manifest.PLAN}{run.run}.parquet"] if open_keys else []
    unfinished, plans = _unfinished(folder, known, run.run, open_keys)
    if run.planned or (run.watermark and not is_open):
        compact(run.path, unfinished)
    _tidy(folder, {*(each.name for each in segments), *plans, *mine})
    return note


def tidy(folder: Folder, known: Manifest, run: str) -> None:
    """Removes what a run left that was killed after its commit, when nothing is new. What
    cannot be removed stays for the next run."""
    if not folder.names(manifest.PLAN):
        return
    unfinished, plans = _unfinished(folder, known, run, ())
    compact(folder.path, unfinished)
    _tidy(folder, {*(each.name for each in known.segments), *plans})


def _complete(
    folder: Folder, known: Manifest, run: OpenRun, note: RunNote, counts: FileCounts, seen: SeenOf
) -> tuple[pa.Table, RunNote, set[int]]:
    """Rows of the complete files of a plan; the run's note; and the others, by `path_key`."""
    plan = manifest.read_plan(folder, run.run)
    reading = plan.filter(pc.is_null(plan["like"]))
    paths = reading["path"].to_pylist()
    found = counts.by_path(paths)
    done = (found["listed"] > 0) & (found["open"] == 0)
    if counts.by_path([""])["open"][0]:  # records whose file is unknown
        done[:] = False
    if not run.keeps_failed:
        done &= found["failed"] == 0
    late = []
    for place in np.flatnonzero(done) if run.since else ():
        mark = since.mark_of(known.watermarks, paths[place], run.since)
        if since.has_others(mark, seen.get(paths[place])):
            late.append(paths[place])
            done[place] = False
    left = [paths[place] for place in np.flatnonzero(~done)]
    kept = found[done]
    count = len(kept)
    rows = reading.filter(pa.array(done)).drop_columns(["like"])
    marks = [bytes(mark) for mark in kept["mark"]]
    table = pa.table(
        [
            pa.array(kept["key"]),
            *rows.columns,
            pa.array(marks, pa.binary()),
            pa.array(kept["read"]),
            pa.array(kept["failed"]),
            pa.array(np.full(count, note.ended)),
            pa.array([run.run] * count, pa.string()),
        ],
        schema=manifest.FILES,
    )
    note = dataclasses.replace(
        note,
        files=count,
        left=len(left),
        left_paths=tuple(left[:_NAMED]),
        late_paths=tuple(late),
        read=int(kept["read"].sum()),
        failed=int(kept["failed"].sum()),
    )
    same = plan.filter(pc.is_valid(plan["like"]))
    if len(same):
        table = pa.concat_tables([table, _like(known.files(folder), same)])
    return table, note, {path_key(path) for path in left}


def _unfinished(
    folder: Folder, known: Manifest, run: str, open_keys: Collection[int]
) -> tuple[set[int], list[str]]:
    """The files that this run or an earlier one has not completed, by `path_key`; and the plans
    of earlier ones that name them. A run of other files must not make the log forget these."""
    keys, plans = set(open_keys), []
    names = [name for name in folder.names(manifest.PLAN) if run not in name]
    files = known.files(folder, ["at"]) if names else None
    for name in names:
        with contextlib.suppress(Exception):  # half a plan, of a file system that leaves one
            planned = name.removeprefix(manifest.PLAN).partition(".")[0]
            left = manifest.left_of_plan(folder, planned, files).keys() - keys
            if left:
                keys |= left
                plans.append(name)
    return keys, plans


def _last_imports(folder: Folder, known: Manifest, seen: SeenOf) -> dict[str, tuple[str, int]]:
    """The runs that imported files last, and the failed records of these imports."""
    files = known.files(folder, ["path", "failed", "run"])
    files = files.filter(pc.is_in(files["path"], pa.array(list(seen), pa.string())))
    paths, runs, failed = (files[name].to_pylist() for name in ("path", "run", "failed"))
    return dict(zip(paths, zip(runs, failed, strict=True), strict=True))


def _moved(folder: Folder, run: str) -> list[tuple[str, str]]:
    """The old and the new paths of files that a plan says have moved."""
    plan = manifest.read_plan(folder, run)
    plan = plan.filter(pc.fill_null(pc.not_equal(plan["like"], plan["path"]), False))
    return list(zip(plan["like"].to_pylist(), plan["path"].to_pylist(), strict=True))


def _like(files: pa.Table, same: pa.Table) -> pa.Table:
    """Rows of imported files that were moved or written again, and of their old places."""
    places = pc.index_in(same["like"], files["path"])
    keys = pa.array(np.fromiter(map(path_key, same["path"].to_pylist()), np.uint64))
    rows = files.take(places).set_column(0, "key", keys)
    for name in ("path", "size", "changed"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, same[name])
    moved = same.filter(pc.not_equal(same["like"], same["path"]))
    old = files.filter(pc.is_in(files["path"], moved["like"].combine_chunks()))
    sizes = pa.array(np.full(len(old), manifest.MOVED))
    old = old.set_column(old.schema.get_field_index("size"), "size", sizes)
    return pa.concat_tables([rows.cast(manifest.FILES), old.cast(manifest.FILES)])


def note_replay(run: OpenRun, read: int, failed: int) -> None:
    """Records a replay that has ended: how many records were read, and how many failed again."""
    note = run.note.ending(read, failed)
    if failed and not note.failed_output:  # then the files that it read still hold them
        note = dataclasses.replace(note, inputs=())
    _again(lambda: _note(open_folder(run.path), note))


def _note(folder: Folder, note: RunNote) -> None:
    known = Manifest.load(folder)
    if not any(each.run == note.run for each in known.runs):
        dataclasses.replace(known, runs=(*known.runs, note)).save(folder)


def _again(attempt: Callable[[], _T]) -> _T:
    """Retries while others write at the same time: a replay may end together with an import."""
    while True:
        with contextlib.suppress(Changed):
            return attempt()


def _tidy(folder: Folder, segments: Collection[str]) -> None:
    """Removes segments and plans that belong to no run any more."""
    old = [
        name
        for prefix in (manifest.SEGMENT, manifest.PLAN)
        for name in folder.names(prefix)
        if name not in segments
    ]
    delete_all(folder, old)
