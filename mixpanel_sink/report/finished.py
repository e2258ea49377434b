"""The sink's Beam metrics of a finished pipeline, as numbers. No Beam here."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

NAMESPACE = "mixpanel_sink"


def read_counters(result: Any) -> dict[str, int]:
    """All of the sink's counters of a finished pipeline, summed over its transforms."""
    counters: collections.Counter[str] = collections.Counter()
    for counter in result.metrics().query()["counters"]:
        if counter.key.metric.namespace == NAMESPACE:
            value = counter.committed if counter.committed is not None else counter.attempted
            counters[counter.key.metric.name] += value or 0
    return dict(counters)


class Spread(NamedTuple):
    """What a distribution tells of its values."""

    count: int  # type: ignore[assignment]  # hides tuple.count
    sum: int
    min: int
    max: int

    def __add__(self, other: Spread) -> Spread:  # type: ignore[override]
        return Spread(
            self.count + other.count,
            self.sum + other.sum,
            min(self.min, other.min),
            max(self.max, other.max),
        )


def read_distributions(result: Any) -> dict[str, Spread]:
    """All of the sink's distributions of a finished pipeline, over all its transforms."""
    found: dict[str, Spread] = {}
    for metric in result.metrics().query()["distributions"]:
        if metric.key.metric.namespace == NAMESPACE:
            value = metric.committed if metric.committed is not None else metric.attempted
            name = metric.key.metric.name
            if value is not None and value.count:
                spread = Spread(value.count, value.sum, value.min, value.max)
                found[name] = found[name] + spread if name in found else spread
    return found


def read_texts(result: Any, name: str) -> set[str]:
    """One of the sink's metrics that is a set of texts, of a finished pipeline."""
    texts: set[str] = set()
    for metric in result.metrics().query().get("string_sets", ()):
        if metric.key.metric.namespace == NAMESPACE and metric.key.metric.name == name:
            value = metric.committed if metric.committed is not None else metric.attempted
            texts |= set(value or ())
    return texts
