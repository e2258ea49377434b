"""The log of accepted chunks once a run has ended: only what incomplete files need stays."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from typing import Any

import orjson

from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.owner import HEADER, Owner
from mixpanel_sink.checkpoint.stored import Folder, delete_all
from mixpanel_sink.process import LOGS


def compact(path: str, incomplete: Collection[int]) -> None:
    """Drops the lines of the checkpoint's own log that only tell of complete files.

    The lines that stay are written to a new file before the old ones go.

    Args:
        path: of the checkpoint.
        incomplete: files whose chunks stay, by `counts.path_key`.
    """
    folder = open_folder(path)
    owner = owner_of(folder)
    if owner is None:
        return
    old = folder.names(f"accepted-{owner.mark}-")
    if incomplete and not owner.repeats_safely:
        return  # lines of updates do not tell their files, and none of them must be forgotten
    if incomplete:
        kept = b"".join(_lines(folder, old, set(incomplete)))
        if kept:
            name = f"accepted-{owner.mark}-{uuid.uuid4().hex}"
            folder.write(f"{name}{'-00000000' if '://' in path else ''}.jsonl", kept)
    delete_all(folder, old)


def owner_of(folder: Folder) -> Owner | None:
    """The owner of the checkpoint; None if nothing was ever sent."""
    found = folder.stored(HEADER)
    return None if found is None else Owner.from_header(orjson.loads(found.data))


def _lines(folder: Folder, names: list[str], incomplete: set[int]) -> Iterator[bytes]:
    for name in names:
        found = folder.stored(name)
        data = b"" if found is None else found.data
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            entry: Any = orjson.loads(line)
            if len(entry) < 4 or incomplete.intersection(entry[3]):
                yield line


def adopt_mapping(folder: Folder, mapping: str) -> None:
    """Makes the checkpoint that of another mapping, by its mark."""
    found = folder.stored(HEADER)
    if found is None:
        return
    header = orjson.loads(found.data)
    if header.get("mapping") != mapping:
        folder.write(HEADER, orjson.dumps({**header, "mapping": mapping}), found.version)


def disown(folder: Folder) -> None:
    """Makes a checkpoint nobody's in which no batch was ever entered: the run that claimed it may
    have had the wrong secret or region, and is not to keep the right one out."""
    # A run of this process whose log could not be written: it goes on where it was.
    held = any(log.has_lines_of(folder.path) for log in LOGS.all())
    if not held and not folder.names("accepted-"):
        delete_all(folder, [HEADER])
