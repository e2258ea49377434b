"""Convert without a pipeline or Beam: the code that a job's workers run, in this process.

For commands that look at the events of an input and send nothing, such as the dry run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import IMPORT
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.keys import KeySample
from mixpanel_sink.batch.runs import IN_GLOBAL, Run
from mixpanel_sink.report.failure_log import failure_log
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.send.tally import counts_of_failure, tally
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import Target
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.stages.converter import Converter


def convert_tables(
    tables: Iterable[pa.Table],
    mapping: EventMapping,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    privacy: Privacy | None = None,
    clock: Callable[[], float] = time.time,
    sample: KeySample | None = None,
) -> Iterator[EventChunk | FailedRecord]:
    """The chunks that a job would send, and the records that it could not, in order.

    Args:
        tables: with their origin, as `parquet.read_tables` gives them. A few are in memory at a
            time.
        mapping: how rows become events.
        limits: of events and requests.
        token: the project token that every event carries, if any; nothing is sent from here.
        privacy: what is dropped or hashed.
        clock: seconds since 1970.
        sample: collects the keys of the events.
    """
    credentials: Any = _Known(token)
    destination = Destination.of()
    target = Target("local", destination, credentials, Quota.none(), limits or Limits())
    job = Job(
        endpoint=IMPORT,
        mapping=mapping,
        targets=(target,),
        route=None,
        lanes=1,
        privacy=privacy,
        clock=clock,
    )
    converter = Converter(job, _PlainOutputs(sample))
    try:
        for table in tables:
            yield from converter.add(table, 0, IN_GLOBAL)
        yield from converter.end()
    finally:
        converter.close()


@dataclasses.dataclass(frozen=True)
class _Known:
    """Stands for credentials of which only the token matters."""

    token: str | None = dataclasses.field(repr=False)

    def resolve(self) -> ResolvedCredentials:
        return ResolvedCredentials("", "", token=self.token)


class _PlainOutputs:
    """Outputs without Beam; counts go to the process's tally only."""

    def __init__(self, sample: KeySample | None) -> None:
        self._sample = sample
        self.failures = 0

    def chunk(self, name: str, lane: int, chunk: EventChunk) -> EventChunk:
        return chunk

    def failed(self, failed: FailedRecord, origin: Run) -> FailedRecord:
        tally().add(counts_of_failure(failed))
        failure_log().add(failed)
        return failed

    def read(
        self, counts: Mapping[tuple[str, str], int], samples: Mapping[str, str]
    ) -> Iterator[Any]:
        if self._sample is not None:
            for text in samples.values():
                self._sample.merge(KeySample.from_text(text))
        yield from ()

    def seen(self, mark: str, known: int, places: list[Any], records: int) -> Any:
        raise AssertionError("a dry run has no checkpoint")

    def count(self, name: str, amount: int) -> None:
        tally().add({name: amount})
