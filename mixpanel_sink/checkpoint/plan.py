"""What a run is to read: a listing of the input compared with the manifest."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mixpanel_sink.checkpoint.counts import path_key
from mixpanel_sink.checkpoint.manifest import MOVED

_THREADS = 16
_NOW = np.dtype([("key", "<u8"), ("size", "<i8"), ("changed", "<f8")])
Mark = Callable[[str], bytes]
"""Makes a mark of a file's content. Raises what the file system raises."""


class Listed(NamedTuple):
    """A file as the file system lists it.

    Attributes:
        path: of it.
        size: in bytes.
        changed: when it was changed last, in seconds since 1970; 0 if unknown.
    """

    path: str
    size: int
    changed: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        new: files that no run has imported.
        known: how many were imported before, and are as they were.
        changed: files that were imported, and are others now under the same name.
        moved: new paths of files that were imported under another name, which is gone; and that.
        touched: files that were written again with the same content.
        gone: files that were imported, and that are not there any more.
    """

    new: Sequence[Listed]
    known: int
    changed: Sequence[Listed] = ()
    moved: Sequence[tuple[Listed, str]] = ()
    touched: Sequence[Listed] = ()
    gone: Sequence[str] = ()


def compare(
    listing: Sequence[tuple[str, int, float]],
    files: pa.Table,
    details: Callable[[], pa.Table],
    mark: Mark,
    meant: Callable[[str], bool] = lambda path: True,
) -> Plan:
    """Sorts a listing out.

    A file of another size or time of change is looked at: a copy of the same content is the same
    file. So is a new file if one of the same name and size has disappeared: with ids from
    position, a renamed folder would be stored a second time.

    Args:
        listing: path, size and time of each file of the input.
        files: of the manifest: key, size, changed.
        details: gives path and mark of the same files, in that order. They take much memory, and
            are needed only if something has changed or disappeared.
        mark: of a file's content.
        meant: whether a path is of this input, which may be a part of what was imported.
    """
    now = np.fromiter(((path_key(path), size, at) for path, size, at in listing), _NOW)
    rows, is_known = _found(now["key"], files["key"].to_numpy())
    new = [Listed(*listing[at]) for at in np.flatnonzero(~is_known).tolist()]
    looked = _written(now, files, is_known, rows)
    is_away = files["size"].to_numpy() != MOVED
    is_away[rows[is_known]] = False
    away = np.flatnonzero(is_away)
    told = details() if len(looked) or len(away) else None
    marks = [] if told is None else told["mark"].take(pa.array(rows[looked])).to_pylist()
    same = _same([listing[at][0] for at in looked.tolist()], marks, mark)
    different = [at for at, is_same in zip(looked.tolist(), same, strict=True) if not is_same]
    touched = [at for at, is_same in zip(looked.tolist(), same, strict=True) if is_same]
    paths = [] if told is None else told["path"].take(pa.array(away)).to_pylist()
    gone = [(row, path) for row, path in zip(away.tolist(), paths, strict=True) if meant(path)]
    moved = _moved(new, gone, files, told, mark)
    taken = {each.path for each, _ in moved}
    explained = {old for _, old in moved}
    return Plan(
        new=[each for each in new if each.path not in taken],
        known=len(listing) - len(new) - len(different),
        changed=[Listed(*listing[at]) for at in different],
        moved=moved,
        touched=[Listed(*listing[at]) for at in touched],
        gone=[path for _, path in gone if path not in explained],
    )


def _found(
    keys: np.ndarray[Any, Any], before: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For each key, its row among the earlier ones, and whether it has one."""
    if not len(before):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    order = np.argsort(before)
    places = np.searchsorted(before, keys, sorter=order)
    places[places == len(before)] = 0
    rows = order[places]
    return rows, before[rows] == keys


def _written(
    now: np.ndarray[Any, Any],
    files: pa.Table,
    is_known: np.ndarray[Any, Any],
    rows: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """Places of known files whose size or time is another than when they were imported."""
    if not is_known.any():
        return np.empty(0, np.int64)
    is_other = now["size"] != files["size"].to_numpy()[rows]
    is_other |= now["changed"] != files["changed"].to_numpy()[rows]
    return np.flatnonzero(is_known & is_other)


def _moved(
    new: Sequence[Listed],
    gone: Sequence[tuple[int, str]],
    files: pa.Table,
    told: pa.Table | None,
    mark: Mark,
) -> list[tuple[Listed, str]]:
    """New files that are gone ones under another path: one for each, at most."""
    if not new or not gone or told is None:
        return []
    rows = pa.array([row for row, _ in gone])
    sizes_gone = files["size"].take(rows).to_pylist()
    marks_gone = told["mark"].take(rows).to_pylist()
    old: dict[tuple[int, bytes], list[str]] = {}
    for (_, path), size, known in zip(gone, sizes_gone, marks_gone, strict=True):
        if known:
            old.setdefault((size, known), []).append(path)
    sizes = {size for size, _ in old}
    looked = [each for each in new if each.size in sizes]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        seen = list(pool.map(lambda each: _quiet(mark, each.path), looked))
    pairs = [
        (each, old.get((each.size, found)))
        for each, found in zip(looked, seen, strict=True)
    ]  # fmt: skip
    return [(each, paths.pop()) for each, paths in pairs if paths]


def _quiet(mark: Mark, path: str) -> bytes:
    try:
        return mark(path)
    except Exception:  # of the file system; reading the file will say
        return b""


def _same(paths: Sequence[str], marks: Sequence[bytes | None], mark: Mark) -> list[bool]:
    """Whether files have the marks that they had."""

    def look(path: str, known: bytes | None) -> bool:
        return bool(known) and _quiet(mark, path) == known

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(look, paths, marks))
