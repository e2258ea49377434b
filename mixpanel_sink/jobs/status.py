"""What a checkpoint knows: what was imported, by which runs, and what failed since and was not sent
again."""

from __future__ import annotations

import contextlib
import datetime
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.commit import OpenRun
from mixpanel_sink.checkpoint.folder import check_reachable, open_folder
from mixpanel_sink.checkpoint.manifest import MOVED, Manifest, RunNote
from mixpanel_sink.checkpoint.profile_store import HEADER as PROFILES
from mixpanel_sink.checkpoint.since import Before, before_of
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.errors import CheckpointError, OutputError, SettingError, writing
from mixpanel_sink.jobs.mapping_changed import files_named, files_of
from mixpanel_sink.jobs.outputs import check_output, kept_failures, write_text
from mixpanel_sink.jobs.soon import soon
from mixpanel_sink.read.watermark import Watermark
from mixpanel_sink.report.checkpoint_page import checkpoint_page
from mixpanel_sink.report.page_parts import plural
from mixpanel_sink.settings.options import Settings

_SHOWN = 10
"""Days and runs that are printed, the last ones."""


def status_of(path: str, each_file: bool = False) -> dict[str, Any]:
    """What a checkpoint knows, as plain values.

    Args:
        path: of the checkpoint.
        each_file: whether it lists every imported file.

    Raises:
        CheckpointError: if there is no checkpoint, or it cannot be read.
    """
    folder = open_folder(path)
    check_reachable(folder)
    known = Manifest.load(folder)
    if known.mapping is None and not known.runs:
        if folder.read(PROFILES) is not None:
            raise CheckpointError(
                f"{folder.path} remembers what was last sent for each profile (--only-changed); "
                "status is for checkpoints that know files. The next import says what has changed."
            )
        raise CheckpointError(
            f"{folder.path} holds no imports. Give the folder that --checkpoint names."
        )
    table = pl.DataFrame(known.files(folder, ["path", "size", "read", "failed", "at", "run"]))
    table = _with_before(table.filter(pl.col("size") != MOVED), before_of(known.watermarks))
    days = (
        table.group_by(pl.from_epoch("at", time_unit="s").dt.date().alias("day"))
        .agg(pl.len().alias("files"), pl.col("size", "read", "failed").sum())
        .sort("day")
    )
    made: dict[str, Any] = {
        "checkpoint": folder.path,
        "files": len(table),
        "bytes": int(table["size"].sum()),
        "read": int((table["read"] + table["read_before"]).sum()),
        "failed": int((table["failed"] + table["failed_before"]).sum()),
        "imported_before": int(table["read_before"].sum()),
        "days": [{**row, "day": str(row["day"])} for row in days.to_dicts()],
        "runs": [_run(note) for note in known.runs],
        "unended": None if known.open is None else _run(known.open),
        "held_by": _holder(folder),
        "watermarks": dict(known.watermarks),
        "not_replayed": list(_not_replayed(folder, known)),
    }
    if each_file:
        whole = table.with_columns(
            read=pl.col("read") + pl.col("read_before"),
            failed=pl.col("failed") + pl.col("failed_before"),
        )
        whole = whole.rename({"read_before": "imported_before"}).drop("failed_before")
        made["each_file"] = [
            {**row, "at": _clock(row["at"])} for row in whole.sort("path").to_dicts()
        ]
    return made


def _with_before(table: pl.DataFrame, before: Mapping[str, Before]) -> pl.DataFrame:
    """Files with the records that runs before the last one have imported of them, by --since."""
    counts = {"read_before": pl.Int64, "failed_before": pl.Int64}
    schema = {"path": pl.String, "run": pl.String, **counts}
    more = pl.DataFrame(list(before.values()), schema=schema, orient="row")
    table = table.join(more, on=["path", "run"], how="left")
    return table.with_columns(pl.col(*counts).fill_null(0))


def _run(note: RunNote) -> dict[str, Any]:
    return {
        "run": note.run[:12],
        "kind": note.kind,
        "started": _clock(note.started),
        "ended": None if note.ended is None else _clock(note.ended),
        "files": note.files,
        "incomplete_files": note.left,
        "incomplete": list(note.left_paths),
        "read": note.read,
        "failed": note.failed,
    }


def _not_replayed(folder: Folder, known: Manifest) -> Iterator[dict[str, Any]]:
    """Failed records of each run that no replay has read, with their files."""
    runs = known.runs
    failed: dict[str, int] = {}
    if not any(each.read for each in before_of(known.watermarks).values()):
        # What failed in a file that was imported again as a whole has failed again, or not.
        table = pl.DataFrame(known.files(folder, ["size", "failed", "run"]))
        table = table.filter(pl.col("size") != MOVED)
        failed = dict(table.group_by("run").agg(pl.col("failed").sum()).iter_rows())
    replayed = {path for note in runs for path in note.inputs}
    for note in runs:
        count = note.failed if note.kind == "replay" else failed.get(note.run, note.failed)
        if not count or not note.failed_output:
            continue
        files: list[str] = []
        with contextlib.suppress(Exception):  # of each cloud's client
            files = kept_failures(note.failed_output, note.run)
        left = [path for path in files if path not in replayed]
        if left or not files:
            yield {"run": note.run[:12], "failed": count, "files": left, "are_gone": not files}


class Left(NamedTuple):
    """What runs with a checkpoint have left to do: the files of failed records that no replay has
    read, of the last run and of earlier ones; and whether files of the input are not complete."""

    failures: tuple[str, ...] = ()
    is_incomplete: bool = False


def left_after(settings: Settings) -> Left | None:
    """What is left to do. Nothing if the checkpoint cannot be read, or not soon enough; None
    without one that keeps track of files."""
    if not settings.checkpoint or settings.only_changed:
        return None
    folder = open_folder(settings.checkpoint)

    def ask() -> Left:
        try:
            known = Manifest.load(folder)
            failures = [file for each in _not_replayed(folder, known) for file in each["files"]]
        except CheckpointError:
            return Left()
        imports = [note for note in known.runs if note.kind == "import"]
        return Left(tuple(failures), any(note.left for note in imports[-1:]))

    return soon(ask, Left())


def print_end(run: OpenRun) -> None:
    """Prints what a run has imported, and which files are not complete."""

    def ask() -> RunNote | None:
        with contextlib.suppress(CheckpointError):
            runs = Manifest.load(open_folder(run.path)).runs
            return next((note for note in runs if note.run == run.run), None)
        return None

    note = soon(ask, None)
    if note is None or not run.planned:
        return
    print(f"  Checkpoint: {files_of(note.files)} imported")
    for path in note.late_paths:
        print(
            f"  {path}: among the rows that were imported before, some are new, changed or gone. "
            "The next run reads the file as a whole."
        )
    if note.left:
        print(
            f"  {files_of(note.left)} not complete; the next run goes on with "
            f"{files_named(note.left_paths)}"
        )


def _holder(folder: Folder) -> dict[str, Any] | None:
    found = folder.read(lease.NAME)
    holder = None if found is None else lease.Holder.from_json(found)
    if holder is None:
        return None
    return {
        "who": holder.who,
        "process": holder.pid,
        "since": _clock(holder.since),
        "renewed": _clock(holder.renewed),
        "has_died": holder.is_gone(),
    }


def _clock(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def render(status: Mapping[str, Any]) -> str:
    """The status as text for people."""
    lines = [
        f"{status['checkpoint']}",
        f"  {plural(status['files'], 'file')} imported, {plural(status['bytes'], 'byte')}: "
        f"{plural(status['read'], 'record')} read, {status['failed']:,} failed",
    ]
    if before := status["imported_before"]:
        lines.append(
            f"  {before:,} of these records were imported by runs before the last one, which has "
            "read only what is new (--since)"
        )
    if status["held_by"]:
        held = status["held_by"]
        state = "which has died" if held["has_died"] else f"last heard of {held['renewed']}"
        lines.append(
            f"  In use since {held['since']} by {held['who']} (process {held['process']}), {state}"
        )
    elif status["unended"]:
        lines.append(
            f"  The run of {status['unended']['started']} has not ended; the next one goes on."
        )
    for name, mark in status["watermarks"].items():
        lines.append(f"  {name}: up to {Watermark(*mark['value']).text}")
    lines += _table("Day", "files", [(d["day"], d["files"], d) for d in status["days"]])
    runs = [(f"{run['started']} {run['kind']}", run["files"], run) for run in status["runs"]]
    lines += _table("Run", "files", runs)
    for run in status["runs"][-1:]:
        if run["incomplete"]:
            left = plural(run["incomplete_files"], "file")
            more = run["incomplete_files"] - len(run["incomplete"])
            lines += ["", f"Not complete after the last run: {left}"]
            lines += [f"  {path}" for path in run["incomplete"]]
            lines += [f"  and {more:,} more"] if more else []
    if status["not_replayed"]:
        lines += ["", "Failed and not replayed"]
        for each in status["not_replayed"]:
            where = ", ".join(each["files"]) or "their files are gone"
            lines.append(f"  run {each['run']}: {plural(each['failed'], 'record')}, {where}")
    for row in status.get("each_file", ()):
        before = f" ({row['imported_before']:,} before)" if row["imported_before"] else ""
        said = f"{row['read']:,} read{before}, {row['failed']:,} failed"
        lines.append(f"{row['path']}  {said}, {row['at']}")
    return "\n".join(lines)


def write_page(status: Mapping[str, Any], path: str) -> None:
    """Writes the page over all runs.

    Raises:
        SettingError, OutputError: if it cannot be written.
    """
    marks = {name: Watermark(*mark["value"]).text for name, mark in status["watermarks"].items()}
    text = checkpoint_page(status, time.time(), marks)
    check_output("html", path)
    try:
        with writing(f"--html {path}"):
            write_text(path, text)
    except OutputError:
        raise
    except Exception as error:  # of each cloud's client
        raise SettingError(f"--html {path} could not be written ({error}).") from None


def next_step_after(status: Mapping[str, Any]) -> str:
    """What there is to do about a checkpoint; "" for nothing."""
    held = status["held_by"]
    if held and not held["has_died"]:
        return ""
    for each in status["not_replayed"]:
        if each["files"]:
            files = " ".join(map(shlex.quote, each["files"]))
            folder = shlex.quote(status["checkpoint"])
            return (
                "fix the causes of the failures, then mixpanel-sink replay "
                f"{files} --mapping MAPPING --checkpoint {folder}"
            )
    incomplete = any(run["incomplete_files"] for run in status["runs"][-1:])
    if status["unended"] or incomplete:
        return "run the same import again; it goes on where the last run ended."
    return ""


def _table(head: str, second: str, rows: Sequence[tuple[str, int, Any]]) -> list[str]:
    if not rows:
        return []
    lines = ["", f"{head:<30}{second:>10}{'read':>14}{'failed':>10}"]
    if len(rows) > _SHOWN:
        lines.append(f"({len(rows) - _SHOWN:,} earlier ones: --json)")
    for name, files, row in rows[-_SHOWN:]:
        lines.append(f"{name:<30}{files:>10,}{row['read']:>14,}{row['failed']:>10,}")
    return lines
