"""Routing: which records of a block go to which project. No Beam here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mixpanel_sink.encode.blocks import Block, Failure
from mixpanel_sink.errors import RecordError
from mixpanel_sink.settings.project import Route, unknown_project


def by_project(
    block: Block, route: Route, projects: Mapping[str, Any], beside: bool, failed: list[Failure]
) -> Iterator[tuple[str, Block]]:
    """The block's records by their project.

    Args:
        block: the records.
        route: what they are asked.
        projects: the names that there are.
        beside: whether the route's column stands beside the parts of a raw event or update, and
            has no place in it.
        failed: takes those of no known project.
    """
    if not len(block):
        return
    names, codes = block.names(route, projects)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    for name, numbers in zip(names, np.split(order, ends[:-1]), strict=True):
        if not len(numbers):
            continue
        rows = numbers.tolist()
        if isinstance(name, str) and name in projects:
            part = block.take(rows)
            yield name, part.without(route.column) if beside and route.column else part
            continue
        error = name
        if not isinstance(error, RecordError):
            error = unknown_project(name, projects, route.column)
        for record, origin in zip(block.records(rows), block.origins(rows), strict=True):
            failed.append((block.failure(error, record, block.source(origin)), origin))
