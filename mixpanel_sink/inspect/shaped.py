"""What a mapping's shape makes of an input, for those who look at it without a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.batch.runs import Run, rows_of
from mixpanel_sink.encode.blocks import Block, Failure, RecordsBlock, TableBlock
from mixpanel_sink.encode.shaping import shape_block
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.shape import Shape

_REQUEST = 2000


def shaped_elements(elements: Iterable[Any], mapping: Any) -> Iterator[Any]:
    """The elements of an input after the mapping's shape, as blocks of records and failed records;
    unchanged if it has none.

    Args:
        elements: tables, blocks of records and failed records, as a source has them.
        mapping: of events or profiles.
    """
    shape = mapping.shape
    for element in elements:
        if not isinstance(shape, Shape) or isinstance(element, FailedRecord):
            yield element
            continue
        table = isinstance(element, pa.Table)
        origin = TableOrigin.of(element) if table else element.origin
        nowhere = Run(1, 0, ())
        whole: Block = (TableBlock.of if table else RecordsBlock.of_block)(element, nowhere)
        for part in whole.slices(_REQUEST):
            failed: list[Failure] = []
            made, _ = shape_block(part, shape, mapping.named_columns(), failed)
            yield from (failure for failure, _ in failed)
            offsets = None
            if origin is not None:
                offsets = [int(row) - origin.first_row for row in rows_of(made.runs)]
            if len(made):
                yield RecordBlock(made.records(), origin, offsets)
