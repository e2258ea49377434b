"""What an import with a checkpoint has left to do: new files, or rows after a watermark.

    with opened(settings, source, mapping, remote=...) as today: ...

The run holds the checkpoint's lease from here on. Its last step on the workers enters what it has
brought into the manifest and gives the lease back, so that an unattended job does so, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.commit import OpenRun, begin, commit, tidy
from mixpanel_sink.checkpoint.compact import adopt_mapping, disown
from mixpanel_sink.checkpoint.counts import MARK_BYTES, FileCounts, path_key
from mixpanel_sink.checkpoint.folder import check_reachable, open_folder
from mixpanel_sink.checkpoint.manifest import Manifest, RunNote, usable, write_plan
from mixpanel_sink.checkpoint.mapping_change import is_from_position
from mixpanel_sink.checkpoint.owner import mapping_mark, mapping_settings
from mixpanel_sink.checkpoint.plan import Listed, Plan, compare
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.configured import AnyMapping, endpoint_of, privacy_of
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.jobs.mapping_changed import checked_mapping, files_named, files_of
from mixpanel_sink.jobs.outputs import whole_prefix
from mixpanel_sink.jobs.since import check_since, rows_of_files, rows_of_table
from mixpanel_sink.jobs.soon import soon
from mixpanel_sink.process import HEARTBEATS
from mixpanel_sink.read.connection import UnreachableError, reached
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.files import fingerprint_of, meant_by
from mixpanel_sink.read.listing import File, Listing
from mixpanel_sink.read.since import Since
from mixpanel_sink.read.source import Planned
from mixpanel_sink.read.tables import TableSource
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.options import Settings


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
        give_back(self.checkpoint)


def held(path: str, remote: bool) -> Checkpoint:
    """A checkpoint whose lease this run has taken, and renews from now on.

    Args:
        path: of the checkpoint.
        remote: whether its workers are elsewhere.

    Raises:
        CheckpointError: if another run holds it, or the folder cannot be used.
    """
    checkpoint = Checkpoint(path, lease=lease.new_token())
    seconds = lease.REMOTE_SECONDS if remote else lease.LOCAL_SECONDS
    folder = open_folder(path)
    check_reachable(folder)
    taken(folder, checkpoint.lease, seconds)
    try:
        lease.keep_alive(checkpoint)
    except BaseException:
        give_back(checkpoint)
        raise
    return checkpoint


def give_back(checkpoint: Checkpoint) -> None:
    """Gives the lease back, if the run still has it."""
    path, token = checkpoint.path, checkpoint.lease
    HEARTBEATS.get((path, token), lambda: lease.Heartbeat(path, token)).stop()

    def release() -> None:
        with contextlib.suppress(Exception):  # of each cloud's client; it expires
            lease.release(open_folder(path), token)

    soon(release, None)


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
    checkpoint = held(str(settings.checkpoint), remote)
    try:
        return _today(settings, source, mapping, open_folder(checkpoint.path), checkpoint)
    except BaseException:
        give_back(checkpoint)
        raise


def check_alone(settings: Settings) -> None:
    """Refuses options that mean nothing without a checkpoint.

    Raises:
        SettingError: names one.
    """
    given = settings.given()
    for name in ("on_changed", "on_mapping_changed", "leave_unfinished", "since", "overlap"):
        if name in given:
            option = named("--", name)
            if settings.only_changed and settings.checkpoint:
                raise SettingError(
                    f"{option} is for checkpoints that know files; --only-changed reads the whole "
                    "input and compares profiles. Leave out one of the two."
                )
            raise SettingError(f"{option} needs --checkpoint, which remembers what was imported.")


def check_limit(settings: Settings) -> None:
    """Refuses a part of an import with a checkpoint; in a dry run, too, which shows what the run
    would do.

    Raises:
        SettingError: says why.
    """
    if settings.limit and settings.checkpoint:
        raise SettingError(
            "--limit is for trying things out, and a checkpoint is for whole imports: leave one "
            "out. What was sent with --limit is not doubled by the whole import."
        )


def taken(folder: Folder, token: str, seconds: float) -> None:
    """Takes the lease.

    Raises:
        CheckpointError: if another run holds it, or the folder cannot be used.
    """
    with usable(folder):
        lease.acquire(folder, token, seconds)


def _today(
    settings: Settings,
    source: FileSource,
    mapping: AnyMapping | None,
    folder: Folder,
    checkpoint: Checkpoint,
) -> Today:
    known = Manifest.load(folder)
    now = mapping_settings(mapping, privacy_of(settings))
    mark = mapping_mark(mapping, privacy_of(settings))
    found = looked_at(settings, source, mapping, folder, known)
    for line in found.lines:
        print(line)
    with usable(folder):
        if known.is_unused:
            disown(folder)
        if known.mapping is not None:
            adopt_mapping(folder, mark)
    note = RunNote(
        checkpoint.lease,
        started=time.time(),
        failed_output=whole_prefix(settings.failed_output),
        mapping=mark,
    )
    run = OpenRun(checkpoint.path, note, bool(settings.failed_output))
    known = found.known
    if found.plan is None:
        begin(folder, known, dataclasses.replace(run, watermark=found.watermark), now)
        return Today(found.source, checkpoint, dataclasses.replace(run, watermark=found.watermark))
    step = 0 if found.since is None else found.since.step
    run = dataclasses.replace(run, planned=True, since=settings.since or "", step=step)
    same = [*found.plan.moved, *((each, each.path) for each in found.plan.touched)]
    if found.again:  # until they have been sent again: this run may not come to its end
        keys = [path_key(each.path) for each in found.reading]
        known = known.without(folder, np.array(keys))
    if found.reading or same:
        write_plan(folder, run.run, found.reading, same)
        begin(folder, known, run, now)
    if not found.reading:
        if same:
            commit(run, FileCounts())
        elif known.mapping is not None and known.mapping != now:
            dataclasses.replace(known, mapping=now).save(folder)
        with usable(folder):
            tidy(folder, Manifest.load(folder), run.run)
        return Today(source.only([]), checkpoint, run, is_empty=True)
    where = Planned(checkpoint.path, run.run, settings.leave_unfinished)
    files = Listing.of(File(*each) for each in found.reading)
    return Today(source.only(files, where, found.since), checkpoint, run)


@dataclasses.dataclass(frozen=True)
class Look:
    """What a run would have to do, as far as can be told without writing anything.

    Attributes:
        source: what is new of the input.
        known: the manifest, with the watermarks that still count.
        lines: the same for people.
        again: whether everything is sent again, with another mapping.
        plan: of files; None of a table.
        reading: files that are to be read.
        since: which rows of them; None for all.
        watermark: the name of a table's watermark; "" for none.
    """

    source: FileSource
    known: Manifest
    lines: Sequence[str]
    again: bool = False
    plan: Plan | None = None
    reading: Sequence[Listed] = ()
    since: Since | None = None
    watermark: str = ""


def looked_at(
    settings: Settings,
    source: FileSource,
    mapping: AnyMapping | None,
    folder: Folder,
    known: Manifest,
) -> Look:
    """Compares the input with the manifest; writes nothing.

    Raises:
        CheckpointError: if it is another mapping's.
        InputError: if files that were imported have changed.
        SettingError: if --since cannot work.
    """
    again, lines = checked_mapping(settings, mapping, folder, known)
    if isinstance(source, TableSource):
        marks = {} if again else known.watermarks
        rows, name, line = rows_of_table(settings, source, mapping, marks)
        if again:
            marks = {each: at for each, at in known.watermarks.items() if each != name}
            known = dataclasses.replace(known, watermarks=marks)
        lines += [line] if line else []
        return Look(rows, known, lines, again, watermark=name)
    check_since(settings, mapping)
    plan = planned(settings, source, folder, known, again)
    lines += described(plan, settings, again)
    sends_changed = settings.on_changed == "import" or settings.since
    reading = [*plan.new, *(plan.changed if sends_changed else ())]
    if settings.leave_unfinished and reading and (why := _unreadable(source, reading)):
        paths = files_named([each.path for each in reading])
        lines.append(
            f"{files_of(len(reading))} cannot be read yet, left for the next run: {paths}. ({why})"
        )
        reading = []
    since = None
    if settings.since and reading:
        since, known, more = rows_of_files(settings, source, mapping, plan, known)
        lines += more
    files = Listing.of(File(*each) for each in reading)
    return Look(source.only(files, None, since), known, lines, again, plan, reading, since)


def _unreadable(source: FileSource, reading: Sequence[Listed]) -> str:
    """Why none of the files can be read; "" if one can."""
    try:
        source.only(Listing.of(File(*each) for each in reading)).sample(1)
    except UnreachableError:
        raise
    except InputError as error:
        return str(error)
    return ""


def left_to_do(settings: Settings, source: FileSource, mapping: AnyMapping | None) -> Look:
    """What the next run would have to do. Takes no lease and writes nothing.

    Raises:
        CheckpointError, InputError, SettingError: as that run would.
    """
    folder = open_folder(str(settings.checkpoint))
    known = Manifest.load(folder)
    found = looked_at(settings, source, mapping, folder, known)
    if known.open is None or not (found.reading or found.plan is None):
        return found
    begun = datetime.datetime.fromtimestamp(known.open.started, datetime.timezone.utc)
    more = (
        f"The run of {begun:%Y-%m-%d %H:%M} UTC has not ended: what it has sent of these is not "
        "sent again, and is counted below."
    )
    return dataclasses.replace(found, lines=[*found.lines, more])


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
        _mark_of,
        meant_by(source.patterns),
    )
    if plan.changed and settings.on_changed == "fail" and not settings.since:
        raise InputError(_changed(plan.changed, known.mapping or {}, settings))
    return plan


def _mark_of(path: str) -> bytes:
    with reached(path):
        return fingerprint_of(path)[:MARK_BYTES]


def _changed(changed: Sequence[Listed], mapping: dict[str, Any], settings: Settings) -> str:
    if not endpoint_of(settings).repeats_safely:
        what = "all of their updates would be applied again"
    elif is_from_position(mapping):
        what = "all of their rows would be stored as other events, as ids are from a file's content"
    else:
        what = "rows that are as they were keep their ids and are not stored twice"
    return (
        f"{files_of(len(changed))} changed after the import: "
        f"{files_named([each.path for each in changed])}. Sent again, {what}. "
        "Give --on-changed=import to send them, or =skip to leave them. Nothing was sent."
    )


def described(plan: Plan, settings: Settings, again: bool = False) -> list[str]:
    """What there is to do, in lines for people; `again` if the mapping is another one."""
    new = len(plan.new)
    if again:
        return [f"With the new mapping, every file is sent again: {files_of(new)}."]
    known = f"{files_of(plan.known)} {'was' if plan.known == 1 else 'were'}"
    lines = [f"{known} imported before, {new:,} {'is' if new == 1 else 'are'} new."]
    if plan.changed:
        does = "sent again" if settings.on_changed == "import" else "skipped"
        if settings.since and settings.on_changed == "fail":
            does = f"read for what is new by {settings.since}"
        lines.append(
            f"{files_of(len(plan.changed))} changed after the import, {does}: "
            f"{files_named([each.path for each in plan.changed])}."
        )
    if plan.moved:
        lines.append(
            f"{files_of(len(plan.moved))} moved after the import, not sent again: "
            f"{files_named([f'{old} is {each.path}' for each, old in plan.moved])}."
        )
    if plan.gone:
        lines.append(
            f"{files_of(len(plan.gone))} imported before, not there any more: "
            f"{files_named(plan.gone)}."
        )
    return lines
