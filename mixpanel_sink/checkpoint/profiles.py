"""Which profiles have changed since they were last sent. Two stages use it: Convert asks, and Send
logs what Mixpanel has accepted.

A profile that was begun and not ended (a killed process, a lost response) is unknown, and is sent
again. So the content that is logged is always what Mixpanel holds.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from blake3 import blake3

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.log import Lookup
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.profile_entries import GONE, UNKNOWN, Entries, joined
from mixpanel_sink.checkpoint.profile_store import ProfileStore
from mixpanel_sink.checkpoint.updates import KeySet
from mixpanel_sink.process import PROFILES
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.project import Target

_LOGGER = logging.getLogger(__name__)
_NOT_COMPARED = ("$time", "$ignore_time", "$ignore_alias")
"""What an update says of itself, and not of the profile."""
SEEN = "profile-seen.bin"
"""What the last run that came to its end saw of the input; see `stages/seen.py`."""
_GATHERED = 20_000
"""Entries that are written together where files cannot grow."""


class ChangedUpdates(NamedTuple):
    """What became of some updates.

    Attributes:
        send: which of them must be sent, as a mask.
        places: of the profiles among those that were known when the run began.
    """

    send: Any
    places: Any


class ProfileState:
    """What was last sent for each profile. Thread-safe; a `log.Log`.

    Args:
        store: the files.
        endpoint: of the profiles.
        run: of the pipeline; what it sends itself does not count as known.
        gone: whether accepted updates remove their profiles from what is known.

    Raises:
        CheckpointError: if the files cannot be read.
    """

    def __init__(
        self, store: ProfileStore, endpoint: Endpoint, run: str, gone: bool = False
    ) -> None:
        self.store = store
        self.run = run
        self._endpoint = endpoint
        self._gone = gone
        self._lock = threading.Lock()
        self._waiting: list[Entries] = []
        self.base = store.base(run)
        self._touched = np.zeros(len(self.base.keys), bool)
        """Profiles that this run has sent an update for: a later one in the input must follow."""
        self._ended = KeySet()
        """Profiles that this run has logged; without it, the second update of one that is lost
        would leave the first one in the log."""

    def changed(self, records: Sequence[bytes]) -> ChangedUpdates:
        """Which of these updates differ from what was last sent for their profiles."""
        entries = entries_of(records, self._endpoint)
        with self._lock:
            places, known = self.base.find(entries.keys)
            if not known.any():
                return ChangedUpdates(np.ones(len(records), bool), places[:0])
            same = known & (self.base.contents[places] == entries.contents)
            same &= ~self._touched[places]
            # Several updates of one profile are sent in their order, or not at all.
            same &= ~np.isin(entries.keys, entries.keys[~same])
            self._touched[places[known & ~same]] = True
        return ChangedUpdates(~same, np.unique(places[known]))

    def lookup(self, chunk: EventChunk, repeat: bool = False) -> Lookup:
        """Everything is to be sent: Convert has left out what has not changed."""
        del repeat
        return Lookup(chunk)

    def begin(self, chunk: EventChunk) -> Entries:
        """Logs that what Mixpanel holds of these profiles is unknown from now on."""
        entries = entries_of(chunk.events(), self._endpoint)
        with self._lock:
            places, known = self.base.find(entries.keys)
            known[known] = self.base.contents[places[known]] != UNKNOWN
            self.base.contents[places[known]] = UNKNOWN
            known |= self._ended.find(entries.keys)
            if known.any():
                self._write()  # what came before
                begun = entries.take(known)
                unknown = np.full(len(begun), UNKNOWN, np.uint64)
                self.store.append(self.run, dataclasses.replace(begun, contents=unknown))
        return entries

    def end(
        self,
        begun: Entries,
        chunk: EventChunk,
        failed: Sequence[FailedRecord],
        left: Sequence[EventChunk] = (),
    ) -> None:
        """Logs what was accepted, without profiles of which an update failed or is left."""
        texts = [failure.event_json.encode() for failure in failed if failure.event_json]
        texts += [record for part in left for record in part.events()]
        bad = {self._endpoint.group_of(text) for text in texts}
        accepted = begun
        if bad:
            accepted = begun.take(np.array([id not in bad for id in begun.ids.to_pylist()]))
        if self._gone:
            gone = np.full(len(accepted), GONE, np.uint64)
            accepted = dataclasses.replace(accepted, contents=gone)
        with self._lock:
            self._ended.add(accepted.keys)
            self._waiting.append(accepted)
            if self.store.grows or sum(map(len, self._waiting)) >= _GATHERED:
                self._write()

    def flush(self) -> None:
        """Writes what was logged."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if any(map(len, self._waiting)):
            self.store.append(self.run, joined(self._waiting))
        self._waiting = []


def entries_of(records: Iterable[bytes], endpoint: Endpoint) -> Entries:
    """The entries of updates: the profiles' keys and ids, and hashes of the content.

    The project counts by its token, which each update carries.
    """
    keys, contents, ids = [], [], []
    for record in records:
        update: dict[str, Any] = orjson.loads(record)
        id = "\0".join(str(update.get(key)) for key in endpoint.identity)
        token = update.pop("$token", "")
        for name in _NOT_COMPARED:
            update.pop(name, None)
        text = orjson.dumps(update, option=orjson.OPT_SORT_KEYS)
        keys.append(blake3(f"{token}\0{id}".encode()).digest(8))
        contents.append(blake3(text).digest(8))
        ids.append(id)
    hashes = np.frombuffer(b"".join(contents), np.uint64).copy()
    hashes[hashes <= GONE] += 2
    return Entries.of(np.frombuffer(b"".join(keys), np.uint64), hashes, ids)


def store_of(job: Job, projects: Iterable[tuple[Target, ResolvedCredentials]]) -> ProfileStore:
    """The files of a job's checkpoint.

    Raises:
        CheckpointError: if they belong to something else, or cannot be used.
    """
    assert job.checkpoint is not None
    checkpoint = Checkpoint(job.checkpoint.path)  # whatever the input is
    owner = Owner.of(checkpoint, job.mapping, job.endpoint, projects, job.privacy)
    return ProfileStore(checkpoint.path, owner, any_mapping=job.forgets)


def open_profiles(job: Job, projects: Iterable[tuple[Target, ResolvedCredentials]]) -> ProfileState:
    """This process's state of a job's checkpoint, which both stages share.

    Raises:
        CheckpointError: as above.
    """
    assert job.checkpoint is not None
    held = PROFILES.get(job.checkpoint.path, _Held)
    with held.lock:
        if held.state is None or held.state.run != job.run:  # of one run at a time
            if held.state is not None:
                held.state.store.close()
            store = store_of(job, projects)
            store.settle(job.run)
            warn_of_mapping(store)
            held.state = ProfileState(store, job.endpoint, job.run, job.forgets)
        return held.state


def claim_profiles(job: Job, projects: Iterable[tuple[Target, ResolvedCredentials]]) -> None:
    """Checks the checkpoint at launch, and merges the logs of earlier runs into the shards.

    Raises:
        CheckpointError: as above.
    """
    store = store_of(job, projects)
    warn_of_mapping(store)
    store.settle()
    store.remove(SEEN)
    store.close()


def release(path: str) -> None:
    """Drops the state of a checkpoint after a run."""
    held = PROFILES.get(path, _Held)
    with held.lock:
        if held.state is not None:
            held.state.store.close()
        held.state = None


class _Held:
    """The state of the current run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.state: ProfileState | None = None


def warn_of_mapping(store: ProfileStore) -> None:
    """Warns of what a changed mapping means."""
    if store.mapping_changed:
        _LOGGER.warning(
            "The mapping or the privacy settings are not those of the last run: profiles whose "
            "updates differ through that count as changed, and are sent."
        )
