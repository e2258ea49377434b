"""The hashes by which a run's events are compared; see `batch.keys`."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from mixpanel_sink.batch.keys import Hashes, Keys


def keys_of(ids: pl.Series | None, users: pl.Series, times: pl.Series) -> Keys:
    """Keys of events.

    Args:
        ids: their `$insert_id`s; None where no two share one.
        users: their `distinct_id`s.
        times: in milliseconds since 1970.
    """
    hashed = None if ids is None else _hashed(ids)
    return Keys.of(hashed, _hashed(users), times.cast(pl.Int64).to_numpy())


def keys_of_events(events: Iterable[tuple[str, str, int]]) -> Keys:
    """The same of events one by one: id, user and time of each."""
    ids, users, times = zip(*events, strict=True)
    return keys_of(pl.Series(ids, dtype=pl.String), pl.Series(users), pl.Series(times))


def _hashed(texts: pl.Series) -> Hashes:
    # Of Polars itself: the same in every process of a job, which have one version of it.
    hashed: Hashes = texts.cast(pl.String).hash().to_numpy()
    return hashed
