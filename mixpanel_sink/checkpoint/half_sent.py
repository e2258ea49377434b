"""Files that a run has begun and not brought to their end, and how much of them was accepted."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from mixpanel_sink.checkpoint import manifest
from mixpanel_sink.checkpoint.compact import owner_of
from mixpanel_sink.checkpoint.manifest import Manifest
from mixpanel_sink.checkpoint.stored import Folder

_KEY_BYTES = 8


class HalfSent(NamedTuple):
    """What is half sent.

    Attributes:
        accepted: events or updates that may be in Mixpanel; at most so many.
        paths: of the files that hold them, as far as plans still name them.
    """

    accepted: int
    paths: tuple[str, ...]


def half_sent(folder: Folder, known: Manifest) -> HalfSent:
    """What the checkpoint's log has of files that are not complete."""
    owner = owner_of(folder)
    names = [] if owner is None else folder.names(f"accepted-{owner.mark}-")
    if not names:
        return HalfSent(0, ())
    files = known.files(folder, ["at"])
    planned = _planned(folder, files)
    done = set(files["key"].to_pylist()) - planned.keys()
    accepted = 0
    begun: dict[str, int] = {}
    keys: set[int] = set()
    for line in _lines(folder, names):
        if isinstance(line, list):  # of events: see `events`
            left = set(line[3]) - done
            accepted += line[1] if left else 0
            keys |= left
        elif "begun" in line:  # of updates, which do not tell their files: see `updates`
            size = len(base64.b64decode(line["keys"])) // _KEY_BYTES
            begun[line["begun"]] = size
            accepted += size
            keys |= planned.keys()
        elif line.get("ended") in begun:
            accepted -= len({*line["again"], *(place for place, _ in line["failed"])})
    paths = tuple(sorted(planned[key] for key in keys if key in planned))
    return HalfSent(accepted, paths)


def _planned(folder: Folder, files: Any) -> dict[int, str]:
    planned: dict[int, str] = {}
    for name in folder.names(manifest.PLAN):
        with contextlib.suppress(Exception):  # half a plan, of a file system that leaves one
            run = name.removeprefix(manifest.PLAN).partition(".")[0]
            planned |= manifest.left_of_plan(folder, run, files)
    return planned


def _lines(folder: Folder, names: list[str]) -> Iterator[Any]:
    for name in names:
        found = folder.stored(name)
        data = b"" if found is None else found.data
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            yield orjson.loads(line)
