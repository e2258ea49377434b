"""What a run is to read: a listing of the input compared with the manifest."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

_THREADS = 16
Mark = Callable[[str], bytes]
"""Gives a mark of a file's content. Errors are those of the file system."""


class Listed(NamedTuple):
    """A file as the file system lists it.

    Attributes:
        path: of it.
        size: in bytes.
        changed: when it was changed last, in seconds since 1970; 0 if nobody knows.
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
    mark: Mark,
    meant: Callable[[str], bool] = lambda path: True,
) -> Plan:
    """Sorts a listing out.

    A file of another size or time of change is looked at: a copy of the same content is the same
    file. So is a new file if one of the same name and size has disappeared: with ids from
    position, a renamed folder would be stored a second time.

    Args:
        listing: path, size and time of each file of the input.
        files: of the manifest: path, size, changed, mark.
        mark: of a file's content.
        meant: whether a path is of this input, which may be a part of what was imported.
    """
    here = pl.DataFrame(
        listing, schema={"path": pl.String, "size": pl.Int64, "changed": pl.Float64}, orient="row"
    ).with_row_index("at")
    before = pl.DataFrame(files.select(["path", "size", "changed"])).with_row_index("row")
    joined = here.join(before, on="path", how="left", suffix="_before", maintain_order="left")
    is_new = pl.col("row").is_null()
    written = (pl.col("size") != pl.col("size_before")) | (
        pl.col("changed") != pl.col("changed_before")
    )
    new = _listed(listing, joined.filter(is_new))
    looked = joined.filter(written)
    same = dict(_same(listing, looked["at"], looked["row"], files, mark))
    different = [at for at, is_same in same.items() if not is_same]
    gone = before.join(here, on="path", how="anti", maintain_order="left")
    gone = gone.filter(pl.Series([meant(path) for path in gone["path"]], dtype=pl.Boolean))
    moved = _moved(new, gone, files, mark)
    paths = {each.path for each, _ in moved}
    return Plan(
        new=[each for each in new if each.path not in paths],
        known=len(joined) - len(new) - len(different),
        changed=[Listed(*listing[at]) for at in different],
        moved=moved,
        touched=[Listed(*listing[at]) for at, is_same in same.items() if is_same],
        gone=_without(gone["path"].to_list(), {old for _, old in moved}),
    )


def _listed(listing: Sequence[tuple[str, int, float]], rows: pl.DataFrame) -> list[Listed]:
    return [Listed(*listing[at]) for at in rows["at"]]


def _without(paths: list[str], left_out: set[str]) -> list[str]:
    return [path for path in paths if path not in left_out]


def _moved(new: Sequence[Listed], gone: pl.DataFrame, files: pa.Table, mark: Mark) -> list[Any]:
    """New files that are gone ones under another path: one for each, at most."""
    sizes = set(gone["size"])
    looked = [each for each in new if each.size in sizes]
    if not looked:
        return []
    rows = gone["row"].to_list()
    marks = files["mark"].take(pa.array(rows, pa.int64())).to_pylist()
    old: dict[Any, list[str]] = {}
    for path, size, known in zip(gone["path"], gone["size"], marks, strict=True):
        if known:
            old.setdefault((size, known), []).append(path)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda each: _quiet(mark, each.path), looked)
        pairs = ((each, old.get((each.size, seen))) for each, seen in zip(looked, found))  # noqa: B905
        return [(each, paths.pop()) for each, paths in pairs if paths]


def _quiet(mark: Mark, path: str) -> bytes:
    try:
        return mark(path)
    except Exception:  # of the file system; reading the file will say
        return b""


def _same(
    listing: Sequence[tuple[str, int, float]],
    places: Iterable[int],
    rows: Iterable[int],
    files: pa.Table,
    mark: Mark,
) -> list[tuple[int, bool]]:
    """Whether files are, by their marks, those of rows of the manifest."""

    def look(pair: tuple[int, int]) -> tuple[int, bool]:
        at, row = pair
        known = files["mark"][row].as_py()
        return at, bool(known) and _quiet(mark, listing[at][0]) == known

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(look, zip(places, rows, strict=True)))
