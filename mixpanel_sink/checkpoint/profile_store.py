"""What was last sent for each profile, in the folder of a checkpoint.

    profiles.json             the header: version, endpoint, projects, mapping
    profiles-NN.shard         64 shards, by the first bits of a profile's key: a checksum, and then
                              Parquet with key, content and id
    profile-log-RUN-ID-N.bin  what the run RUN has sent since, by process, and for a part of the
                              shards where files grow

Key and content are 64-bit hashes: of a project and a profile's id, and of its last update. Each
frame of a log has a checksum too, and what a killed process left half-written is not read. The logs
go into the shards when a run begins: one part of them after another, to need little memory,
and a log is removed when its shards are written, so that little space is. Killed in between, it is
done again with the same result: what logs contradict each other about gets a log of its own, which
is removed last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.profile_entries import (
    GONE,
    Base,
    Entries,
    Numbers,
    from_parquet,
    ids_from_bytes,
    ids_of,
    ids_to_bytes,
    joined,
    last_words,
    to_parquet,
)
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.errors import CheckpointError

VERSION = 3

HEADER = "profiles.json"
_LOCK = "profiles.lock"
_LOG = "profile-log-"
_SHARDS = 64
_SHIFT = np.uint64(58)
_TOGETHER = 4
"""Shards that one part of the logs is for: what is in memory, and twice on disk, while they are
merged. In cloud storage a log is of all shards, and is read once for twice as many."""
_PART = "part"
_DISPUTED = "~disputed"
"""Stands for a run whose logs come after all others."""
_FRAME = struct.Struct(">III")
"""The size, the size of the ids before compression, and a checksum."""
_SUM = struct.Struct(">I")
_ZSTD = pa.Codec("zstd")


class ProfileStore:
    """The files. One process at a time may merge the logs into the shards.

    Args:
        path: of the checkpoint's folder, local or gs://; made if there is none.
        owner: whom it must belong to, but for the mapping.
        any_mapping: whether the mapping in the header stays as it is.

    Raises:
        CheckpointError: if it belongs to something else, is damaged, or cannot be used.
    """

    def __init__(self, path: str, owner: Owner, any_mapping: bool = False) -> None:
        self._folder: Folder = open_folder(path)
        self._id = uuid.uuid4().hex[:12]
        self._frames = 0
        with self._guarded():
            self.mapping_changed = self._claim(owner, any_mapping)
        self._lock = _Lock(os.path.join(self._folder.path, _LOCK), self._folder.appends)

    @property
    def grows(self) -> bool:
        """Whether an entry costs little, because files can grow."""
        return self._folder.appends

    def close(self) -> None:
        """Lets other processes merge the logs into the shards."""
        self._lock.close()

    def settle(self, run: str = "") -> None:
        """Merges the logs of earlier runs into the shards, unless another process is doing it. Not
        those of `run`, whose workers are at work: in cloud storage several of them may do this."""
        with self._guarded(), self._lock.alone() as alone:
            names = [n for n in self._folder.names(_LOG) if not n.startswith(f"{_LOG}{run}-")]
            if not alone:
                return
            there = set(self._folder.names("profiles-"))
            step = 1 if self.grows else 2
            for first in range(0, _SHARDS // _TOGETHER if names else 0, step):
                parts = range(first, first + step)
                mine = [name for name in names if _part_of(name) in (*parts, None)]
                shards = range(first * _TOGETHER, (first + step) * _TOGETHER)
                names += self._settle(mine, shards, there)
                self._remove(name for name in names if _part_of(name) in parts)
            self._remove(name for name in names if _part_of(name) is None)
            pa.default_memory_pool().release_unused()

    def base(self, run: str) -> Base:
        """What is known, without what this run has sent."""
        with self._guarded():
            names = self._folder.names("profiles-")
            # Each is read twice: all of them in two forms would take twice the memory.
            sizes = [self._parquet(name, lambda file: file.metadata.num_rows) for name in names]
            keys, contents = np.empty(sum(sizes), np.uint64), np.empty(sum(sizes), np.uint64)
            start = 0
            for name, size in zip(names, sizes, strict=True):
                table = self._parquet(name, lambda file: file.read(["key", "content"]))
                keys[start : start + size] = table["key"].to_numpy()
                contents[start : start + size] = table["content"].to_numpy()
                start += size
            others = [n for n in self._folder.names(_LOG) if not n.startswith(f"{_LOG}{run}-")]
            if others:  # another process held the lock
                found, _ = last_words(self._logs(others, range(_SHARDS)))
                blank = pa.nulls(len(keys), pa.large_string())
                both = joined([Entries(keys, contents, blank), found]).last_of_each()
                kept = both.contents != GONE
                keys, contents = both.keys[kept], both.contents[kept]
        mark = zlib.crc32(contents.data, zlib.crc32(keys.data))
        return Base(keys, contents, f"{len(keys)}-{mark:08x}")

    def append(self, run: str, entries: Entries) -> None:
        """Logs what was sent; with `UNKNOWN`, what is about to be sent."""
        with self._guarded():
            self._append(run, entries)

    def ids(self, keys: Numbers) -> Iterator[str]:
        """The ids of the profiles with these keys, as far as they are in the shards."""
        with self._guarded():
            names = self._folder.names("profiles-")
        for name in names:
            with self._guarded():
                table = self._parquet(name, lambda file: file.read(["key", "id"]))
            wanted = pa.array(np.isin(table["key"].to_numpy(), keys))
            yield from ids_of(table["id"]).filter(wanted).to_pylist()

    def read(self, name: str) -> bytes | None:
        """Reads another small file of the folder."""
        with self._guarded():
            return self._folder.read(name)

    def write(self, name: str, data: bytes) -> None:
        """Writes such a file."""
        with self._guarded():
            self._folder.write(name, data)

    def remove(self, name: str) -> None:
        """Removes such a file."""
        with self._guarded():
            self._folder.remove(name)

    def _claim(self, owner: Owner, any_mapping: bool) -> bool:
        """Writes the header, or checks it; returns whether the mapping was another one."""
        found: dict[str, Any] = {}
        mine = {"version": VERSION, **dataclasses.asdict(owner)}
        if (data := self._folder.read(HEADER)) is not None:
            try:
                found = orjson.loads(data)
                version = int(found["version"])
            except (ValueError, TypeError, LookupError) as error:
                raise self._damaged(HEADER, error) from None
            if version != VERSION:
                raise CheckpointError(
                    f"The profiles in the checkpoint {self._folder.path} were written by another "
                    f"version of mixpanel_sink (format {version}; this one has {VERSION}). Use "
                    "that version, or another folder: all profiles are then sent once."
                )
            for part in ("endpoint", "projects"):
                if found.get(part) != mine[part]:
                    what = "project or region" if part == "projects" else part
                    raise CheckpointError(
                        f"The profiles in the checkpoint {self._folder.path} belong to another "
                        f"{what}. Give each its own folder."
                    )
        elif self._folder.names("profiles-"):
            raise self._damaged(HEADER, FileNotFoundError("it is missing"))
        if any_mapping and found:
            mine["mapping"] = found["mapping"]
        if found != mine:
            self._folder.write(HEADER, orjson.dumps(mine))
        return bool(found) and found.get("mapping") != mine["mapping"]

    def _append(self, run: str, entries: Entries) -> list[str]:
        """Adds to the logs, and returns their names."""
        log = f"{_LOG}{run}-{self._id}"
        if not self._folder.appends:
            name = f"{log}-{self._frames:08d}.bin"
            self._folder.write(name, _frame(entries))
            self._frames += 1
            return [name]
        parts = (entries.keys >> _SHIFT) // np.uint64(_TOGETHER)
        names = []
        for part in np.unique(parts).tolist():
            names.append(f"{log}-{_PART}{part}.bin")
            self._folder.append(names[-1], _frame(entries.take(parts == part)))
        return names

    def _settle(self, names: list[str], shards: range, there: set[str]) -> list[str]:
        """Merges logs into some shards; returns the names of logs written for disputed ones."""
        found, disputed = last_words(self._logs(names, shards))
        # Of two logs that differ one is removed first: alone, the other would be believed.
        made = self._append(_DISPUTED, found.take(disputed)) if disputed.any() else []
        for shard in shards:
            mine = found.take(found.keys >> _SHIFT == shard)
            if not len(mine):
                continue
            name = f"profiles-{shard:02d}.shard"
            known = [self._parquet(name, from_parquet)] if name in there else []
            both = joined([*known, mine]).last_of_each()
            data = to_parquet(both.take(both.contents != GONE))
            self._folder.write(name, _SUM.pack(zlib.crc32(data)) + data)
        return made

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._folder.remove(name)

    def _logs(self, names: list[str], shards: range) -> Iterator[Entries]:
        """What each process logged of these shards."""
        logs: dict[str, list[str]] = {}
        for name in names:
            logs.setdefault(name.rpartition("-")[0], []).append(name)
        for parts in logs.values():
            yield joined(self._entries_of(parts, shards))

    def _entries_of(self, names: list[str], shards: range) -> Iterator[Entries]:
        for name in names:
            for entries in self._frames_of(name):
                shard = entries.keys >> _SHIFT
                mask = (shard >= shards.start) & (shard < shards.stop)
                yield entries if mask.all() else entries.take(mask)

    def _frames_of(self, name: str) -> Iterator[Entries]:
        with self._folder.open(name) as file:
            while len(head := file.read(_FRAME.size)) == _FRAME.size:
                size, ids_size, checksum = _FRAME.unpack(head)
                data = file.read(size)
                if len(data) < size:
                    return  # a killed process left half of it
                if zlib.crc32(data) != checksum:
                    raise self._damaged(name, ValueError("a checksum is wrong"))
                (count,) = struct.unpack_from(">I", data)
                keys = np.frombuffer(data, np.uint64, count, 4)
                contents = np.frombuffer(data, np.uint64, count, 4 + 8 * count)
                ids = _ZSTD.decompress(data[4 + 16 * count :], ids_size, asbytes=True)
                yield Entries(keys, contents, ids_from_bytes(ids, count))

    def _parquet(self, name: str, read: Callable[[pq.ParquetFile], Any]) -> Any:
        data = self._folder.read(name) or b""
        if len(data) < _SUM.size or _SUM.unpack_from(data) != (zlib.crc32(data[_SUM.size :]),):
            raise self._damaged(name, ValueError("a checksum is wrong"))
        return read(pq.ParquetFile(pa.BufferReader(data[_SUM.size :])))

    def _damaged(self, name: str, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"The checkpoint {self._folder.path} is damaged ({name}: {_short(error)}). Give "
            "another folder: all profiles are then sent once."
        )

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            raise
        except Exception as error:  # OSError, and what each cloud's client raises
            raise CheckpointError(
                f"The checkpoint {self._folder.path} cannot be used ({_short(error)}). Check the "
                "folder and its permissions where the workers run; what it knows so far is not "
                "sent again."
            ) from None


def _frame(entries: Entries) -> bytes:
    ids = ids_to_bytes(entries.ids)
    # Hashes cannot be compressed, and with them in a block neither can ids.
    hashes = (entries.keys.tobytes(), entries.contents.tobytes())
    data = b"".join((struct.pack(">I", len(entries)), *hashes, _ZSTD.compress(ids, asbytes=True)))
    return _FRAME.pack(len(data), len(ids), zlib.crc32(data)) + data


def _part_of(log: str) -> int | None:
    """The part of the shards that a log is for; None for all of them."""
    end = log.rpartition("-")[2].removesuffix(".bin")
    return int(end.removeprefix(_PART)) if end.startswith(_PART) else None


class _Lock:
    """Keeps the processes that read a local folder from one that puts its logs away.

    It goes with the process, however that ends. Cloud storage has none: there the launcher does it.
    """

    def __init__(self, path: str, local: bool) -> None:
        self._file: Any = None
        with contextlib.suppress(ImportError):  # of an operating system without it
            import fcntl

            if not local:
                return
            self._flock = fcntl.flock
            self._alone, self._shared = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_SH
            self._file = open(path, "ab")  # noqa: SIM115  (it stays open)
            self._flock(self._file, self._shared)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process reads; then none begins to."""
        if self._file is None:
            yield True
            return
        try:
            self._flock(self._file, self._alone)
        except BlockingIOError:
            self._flock(self._file, self._shared)
            yield False
            return
        try:
            yield True
        finally:
            self._flock(self._file, self._shared)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _short(error: Exception) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return str(text)[:160] or type(error).__name__
