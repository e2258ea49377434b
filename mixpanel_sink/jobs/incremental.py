"""What an import with a checkpoint has left to do: new files, or rows after a watermark.

    with opened(settings, source, mapping, remote=...) as today: ...

The run holds the checkpoint's lease from here on. Its last step on the workers enters what it has
brought into the manifest and gives the lease back, so that a job that nobody waits for does too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.commit import OpenRun, begin, commit
from mixpanel_sink.checkpoint.compact import adopt_mapping
from mixpanel_sink.checkpoint.counts import MARK_BYTES, FileCounts, path_key
from mixpanel_sink.checkpoint.folder import Folder, open_folder
from mixpanel_sink.checkpoint.manifest import Manifest, RunNote, unusable, write_plan
from mixpanel_sink.checkpoint.mapping_change import changes, is_from_position, meaning
from mixpanel_sink.checkpoint.owner import HEADER, mapping_mark, mapping_settings
from mixpanel_sink.checkpoint.plan import Listed, Plan, compare
from mixpanel_sink.configured import AnyMapping, endpoint_of, privacy_of
from mixpanel_sink.errors import CheckpointError, InputError, SettingError
from mixpanel_sink.jobs.outputs import whole_prefix
from mixpanel_sink.process import HEARTBEATS
from mixpanel_sink.read.bigquery import BigQueryTable
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.files import fingerprint_of, meant_by
from mixpanel_sink.read.listing import File, Listing
from mixpanel_sink.read.source import Planned
from mixpanel_sink.read.tables import TableSource
from mixpanel_sink.read.watermark import Watermark, condition
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.profile_mapping import UpdateMapping

_NAMED = 3
"""Files that a message names."""


@dataclasses.dataclass(frozen=True)
class Today:
    """What a run has to do.

    Attributes:
        source: the input, of which only what is new will be read.
        checkpoint: for the write.
        run: that holds the lease.
        is_empty: whether nothing is new.
    """

    source: FileSource
    checkpoint: Checkpoint
    run: OpenRun
    is_empty: bool = False

    def release(self) -> None:
        """Gives the lease back, if the run still has it."""
        path = self.checkpoint.path
        HEARTBEATS.get((path, self.run.run), lambda: lease.Heartbeat(path, self.run.run)).stop()
        with contextlib.suppress(Exception):  # of each cloud's client; it expires
            lease.release(open_folder(path), self.run.run)


def today(
    settings: Settings, source: FileSource, mapping: AnyMapping | None, remote: bool
) -> Today:
    """Takes the lease, compares the input with the manifest, and says what is new.

    Args:
        settings: of the user, with a checkpoint.
        source: all of the input.
        mapping: of the import.
        remote: whether its workers are elsewhere.

    Raises:
        CheckpointError: if another run holds it, or it is damaged or another mapping's.
        InputError: if files that were imported have changed.
    """
    path = str(settings.checkpoint)
    folder = open_folder(path)
    token = lease.new_token()
    seconds = lease.REMOTE_SECONDS if remote else lease.LOCAL_SECONDS
    taken(folder, token, seconds)
    checkpoint = Checkpoint(path, lease=token)
    try:
        lease.keep_alive(checkpoint)
        return _today(settings, source, mapping, folder, checkpoint)
    except BaseException:
        Today(source, checkpoint, OpenRun(path, RunNote(token))).release()
        raise


def _rows(
    settings: Settings,
    source: TableSource,
    mapping: AnyMapping | None,
    run: OpenRun,
    watermarks: Mapping[str, Any],
) -> tuple[TableSource, OpenRun]:
    """The rows of a table that came since the last run; without a watermark all of them."""
    column = settings.since
    if column is None:
        print("The table is read as a whole: --since COLUMN reads only what is new.")
        return source, run
    if not isinstance(source.table, BigQueryTable):
        raise SettingError("--since is for BigQuery.")
    for operation in ("add", "append", "remove"):
        if isinstance(mapping, UpdateMapping) and mapping.columns_of(operation):
            raise SettingError(
                f"--since reads the latest rows again, and the mapping's {operation} would be "
                "applied twice. Give each day's rows to a run of their own, with "
                "--row-restriction and without --since."
            )
    table = source.table
    chosen = table.query or table.where
    name = f"{table.name} {column}" + (f" {_short(chosen)}" if chosen else "")
    if name in watermarks:
        last = Watermark(*watermarks[name]["value"])
        print(f"Rows up to {column} {last.text} were imported before; reading from there on.")
        table = table.since(condition(column, last, settings.overlap))
    return source.after(table, column), dataclasses.replace(run, watermark=name)


def _short(text: str) -> str:
    """Tells queries and restrictions apart: a watermark is of one of them."""
    return blake3(text.encode()).hexdigest()[:8]


def check_alone(settings: Settings) -> None:
    """Refuses options that mean nothing without a checkpoint.

    Raises:
        SettingError: names one.
    """
    given = settings.given()
    for name in ("on_changed", "on_mapping_changed", "leave_unfinished", "since", "overlap"):
        if name in given:
            option = named("--", name)
            raise SettingError(f"{option} goes with --checkpoint, which remembers what there was.")


def taken(folder: Folder, token: str, seconds: float) -> None:
    """Takes the lease.

    Raises:
        CheckpointError: if another run holds it, or the folder cannot be used.
    """
    try:
        lease.acquire(folder, token, seconds)
    except CheckpointError:
        raise
    except Exception as error:  # OSError, and what each cloud's client raises
        raise unusable(folder, error) from None


def _today(
    settings: Settings,
    source: FileSource,
    mapping: AnyMapping | None,
    folder: Folder,
    checkpoint: Checkpoint,
) -> Today:
    known = Manifest.load(folder)
    now = mapping_settings(mapping, privacy_of(settings))
    again = _checked_mapping(settings, folder, known, now)
    mark = mapping_mark(mapping, privacy_of(settings))
    if known.mapping is not None:
        adopt_mapping(folder, mark)
    note = RunNote(
        checkpoint.lease,
        started=time.time(),
        failed_output=whole_prefix(settings.failed_output),
        mapping=mark,
    )
    run = OpenRun(checkpoint.path, note, bool(settings.failed_output))
    if isinstance(source, TableSource):
        rows, run = _rows(settings, source, mapping, run, {} if again else known.watermarks)
        if again:
            kept = {name: at for name, at in known.watermarks.items() if name != run.watermark}
            known = dataclasses.replace(known, watermarks=kept)
        begin(folder, known, run, now)
        return Today(rows, checkpoint, run)
    if settings.since:
        raise SettingError("--since is for BigQuery. Of files, new ones are read without it.")
    run = dataclasses.replace(run, planned=True)
    plan = planned(settings, source, folder, known, again)
    for line in described(plan, settings, again):
        print(line)
    reading = [*plan.new, *(plan.changed if settings.on_changed == "import" else ())]
    same = [*plan.moved, *((each, each.path) for each in plan.touched)]
    if again:  # until they have been sent again: this run may not come to its end
        known = known.without(folder, np.array([path_key(each.path) for each in reading]))
    if reading or same:
        write_plan(folder, run.run, reading, same)
        begin(folder, known, run, now)
    if not reading:
        if same:
            commit(run, FileCounts())
        elif known.mapping is not None and known.mapping != now:
            dataclasses.replace(known, mapping=now).save(folder)
        return Today(source.only([]), checkpoint, run, is_empty=True)
    where = Planned(checkpoint.path, run.run, settings.leave_unfinished)
    return Today(source.only(Listing.of(File(*each) for each in reading), where), checkpoint, run)


def print_end(found: Today) -> None:
    """Says what the run has brought, and which files are not complete."""
    with contextlib.suppress(CheckpointError):
        known = Manifest.load(open_folder(found.checkpoint.path))
        for note in known.runs[-1:]:
            if note.run == found.run.run and found.run.planned:
                print(f"  Checkpoint: {_files(note.files)} imported")
                if note.left:
                    print(
                        f"  {_files(note.left)} not complete; the next run goes on with "
                        f"{_named(note.left_paths)}"
                    )


def planned(
    settings: Settings, source: FileSource, folder: Folder, known: Manifest, again: bool = False
) -> Plan:
    """The input compared with the manifest; with `again` as if nothing had been imported.

    Raises:
        InputError: if files have changed and that is not to be.
    """
    before = Manifest() if again else known
    plan = compare(
        source.files,
        before.files(folder, ["size", "changed"]),
        lambda: before.files(folder, ["path", "mark"]),
        lambda path: fingerprint_of(path)[:MARK_BYTES],
        meant_by(source.patterns),
    )
    if plan.changed and settings.on_changed == "fail":
        raise InputError(_changed(plan.changed, known.mapping or {}, settings))
    return plan


def _checked_mapping(
    settings: Settings, folder: Folder, known: Manifest, now: dict[str, Any]
) -> bool:
    """Whether all files are to be sent again, with another mapping than before.

    Raises:
        CheckpointError: if it is another one, and nobody has said what to do.
    """
    if known.mapping is None or known.mapping == now or folder.read(HEADER) is None:
        return False  # without a header nothing was ever sent
    if settings.on_mapping_changed != "fail":
        return settings.on_mapping_changed == "all"
    count = sum(segment.rows for segment in known.segments)
    safe = endpoint_of(settings).repeats_safely
    raise CheckpointError(
        f"The mapping or privacy settings are not those of the {_files(count)} in the checkpoint "
        f"{folder.path}: {'; '.join(changes(known.mapping, now))}. "
        f"{meaning(known.mapping, now, safe)} With --on-mapping-changed=new, files that are new "
        "are sent with the new mapping; with =all, every file is sent again. Nothing was sent."
    )


def _changed(changed: Sequence[Listed], mapping: dict[str, Any], settings: Settings) -> str:
    if not endpoint_of(settings).repeats_safely:
        what = "all of their updates would be applied again"
    elif is_from_position(mapping):
        what = "all of their rows would be stored as other events, as ids are from a file's content"
    else:
        what = "rows that are as they were keep their ids and are not stored twice"
    return (
        f"{_files(len(changed))} changed after the import: {_named([f.path for f in changed])}. "
        f"Sent again, {what}. Give --on-changed=import to send them, or =skip to leave them. "
        "Nothing was sent."
    )


def described(plan: Plan, settings: Settings, again: bool = False) -> list[str]:
    """What there is to do, in lines for people; `again` if the mapping is another one."""
    new = len(plan.new)
    if again:
        return [f"With the new mapping, every file is sent again: {_files(new)}."]
    known = f"{_files(plan.known)} {'was' if plan.known == 1 else 'were'}"
    lines = [f"{known} imported before, {new:,} {'is' if new == 1 else 'are'} new."]
    if plan.changed:
        does = "sent again" if settings.on_changed == "import" else "skipped"
        lines.append(
            f"{_files(len(plan.changed))} changed after the import, {does}: "
            f"{_named([each.path for each in plan.changed])}."
        )
    if plan.moved:
        lines.append(
            f"{_files(len(plan.moved))} moved after the import, not sent again: "
            f"{_named([f'{old} is {each.path}' for each, old in plan.moved])}."
        )
    if plan.gone:
        lines.append(
            f"{_files(len(plan.gone))} imported before, not there any more: {_named(plan.gone)}."
        )
    return lines


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _named(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_NAMED])
    left = len(paths) - _NAMED
    return f"{shown} and {left:,} more" if left > 0 else shown
