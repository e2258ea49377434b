"""Convert alone, in this process: what it makes of any elements, without a pipeline."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from apache_beam.coders.coders import GlobalWindowCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import IMPORT, Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.project import Route, Target
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.stages.convert import ConvertToChunks
from mixpanel_sink.stages.outputs import FAILED, READ

NOW = 1_750_000_000
"""Seconds since 1970: the clock's."""


class Converted(NamedTuple):
    """What came out, in order."""

    events: list[dict[str, Any]]
    failed: list[FailedRecord]
    read: dict[str, int]
    chunks: list[tuple[str, EventChunk]]
    """With the keys of their lanes."""

    @property
    def properties(self) -> list[dict[str, Any]]:
        """Of each event."""
        return [event["properties"] for event in self.events]


def job(
    mapping: Any,
    *,
    endpoint: Endpoint = IMPORT,
    names: Sequence[str] = ("shop",),
    route: Route | None = None,
    limits: Limits | None = None,
    token: str | None = None,
    **more: Any,
) -> Job:
    """A job for projects of these names."""
    resolved = ResolvedCredentials("", "", token=token)
    credentials: Any = types.SimpleNamespace(token=token, resolve=lambda: resolved)
    targets = tuple(
        Target(name, Destination.of(), credentials, Quota.none(), limits or Limits())
        for name in names
    )
    return Job(
        endpoint=endpoint,
        mapping=mapping,
        targets=targets,
        route=route,
        window_coder=GlobalWindowCoder(),
        clock=lambda: NOW,
        **more,
    )


def convert(bundles: Iterable[Iterable[Any]], job: Job) -> Converted:
    """Runs the bundles through one instance of Convert."""
    fn = ConvertToChunks(job)
    fn.setup()
    found = Converted([], [], {}, [])
    try:
        for elements in bundles:
            for element in elements:
                windowed = WindowedValue(element, MIN_TIMESTAMP, (GlobalWindow(),))
                _take(fn.process(element, windowed), found)
            _take(fn.finish_bundle(), found)
    finally:
        fn.teardown()
    return found


def _take(outputs: Iterable[Any], found: Converted) -> None:
    for output in outputs:
        if not isinstance(output, TaggedOutput):
            key, data = output.value
            chunk = EventChunk.from_bytes(data)
            found.chunks.append((key, chunk))
            found.events.extend(map(json.loads, chunk.events()))
        elif output.tag == FAILED:
            found.failed.append(output.value.value)
        else:
            assert output.tag == READ
            name, count, *_ = output.value.value
            found.read[name] = found.read.get(name, 0) + count
