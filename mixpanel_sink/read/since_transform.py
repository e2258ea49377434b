"""`ReadSince`: on a pipeline's workers, the rows of files that came since they were imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from mixpanel_sink.checkpoint.since import together
from mixpanel_sink.read.since import Since
from mixpanel_sink.read.transform import ReadFiles, ReadResult
from mixpanel_sink.report import metrics

_SEEN = "seen"


class ReadSince(beam.PTransform):
    """Reads files, leaves out rows that were imported, and tells what it has seen of each file.

    Args:
        read: the files.
        since: which rows are wanted.

    Returns:
        ReadResult: whose `watermarks` are `checkpoint.since.Seen`, as tuples, one of each file.
    """

    def __init__(self, read: ReadFiles, since: Since) -> None:
        super().__init__()
        self._read = read
        self._since = since

    def expand(self, pbegin: Any) -> ReadResult:
        """Builds the flow."""
        result = pbegin | "Files" >> self._read
        wanted = beam.ParDo(_Wanted(self._since)).with_outputs(_SEEN, main="elements")
        found = result.elements | "Since" >> wanted
        found.elements.element_type = result.elements.element_type  # for its coder
        seen = (
            found[_SEEN]
            | "By file" >> beam.Map(_with_path).with_output_types(tuple[str, Any])
            | "Together" >> beam.CombinePerKey(_together)
            | "Of each file" >> beam.Values()
        )
        return result._replace(elements=found.elements, watermarks=seen)


def _with_path(seen: tuple[Any, ...]) -> tuple[str, Any]:
    return seen[0], seen


def _together(parts: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(together(parts))


class _Wanted(beam.DoFn):
    def __init__(self, since: Since) -> None:
        self._since = since

    def process(self, element: Any) -> Iterator[Any]:
        wanted, seen, before = self._since.wanted(element)
        if before:
            metrics.count("records_imported_before", before)
        if seen is not None:
            yield beam.pvalue.TaggedOutput(_SEEN, tuple(seen))
        if wanted is not None:
            yield wanted
