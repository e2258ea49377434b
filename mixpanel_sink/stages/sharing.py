"""Several sinks of one pipeline that write to one project share its quota, in equal parts.

A lane's state, which holds the quota, belongs to one step of the graph. On a distributed runner
two sinks know nothing of each other, so that each must have less than the whole.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

from mixpanel_sink.errors import SettingError
from mixpanel_sink.process import SINKS
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.project import Target

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Sink:
    label: str
    job: Job
    steps: Mapping[Any, Callable[[Job], Any]]


def share_quota(
    pipeline: Any, label: str, job: Job, steps: Mapping[Any, Callable[[Job], Any]]
) -> None:
    """Registers a sink, and gives each sink of the pipeline its part of each project's quota.

    Args:
        pipeline: that is being built.
        label: of the sink, for messages.
        job: its settings.
        steps: its `ParDo`s, each with the function that makes its DoFn from the settings.

    Raises:
        SettingError: if two sinks name different quotas of one project, or it is too small.
    """
    sinks: list[_Sink] = SINKS.setdefault(pipeline, [])
    sinks.append(_Sink(label, job, steps))
    touched = {_project(job, target) for target in job.targets}
    for sink in sinks:
        parts = [_part(sinks, sink, target) for target in sink.job.targets]
        if not any(_project(sink.job, target) in touched for target in sink.job.targets):
            continue
        if all(part is target for part, target in zip(parts, sink.job.targets, strict=True)):
            continue
        shared = dataclasses.replace(sink.job, targets=tuple(parts))
        for step, made in sink.steps.items():
            step.fn = made(shared)


def _project(job: Job, target: Target) -> tuple[Any, ...]:
    return job.endpoint.name, target.destination.url, target.credentials


def _part(sinks: list[_Sink], sink: _Sink, target: Target) -> Target:
    """The target with its part of the quota; unchanged if no other sink shares the project."""
    project = _project(sink.job, target)
    same = [
        (each, other)
        for each in sinks
        if each.job.rate_limiter is None
        for other in each.job.targets
        if _project(each.job, other) == project
    ]
    if len(same) < 2 or sink.job.rate_limiter is not None:
        return target
    where = f"{target.destination.host} at /{sink.job.endpoint.name}"
    labels = ", ".join(repr(each.label) for each, _ in same)
    quotas = {str(other.quota): None for _, other in same}
    if len(quotas) > 1:
        raise SettingError(
            f"The sinks {labels} write to one project ({where}) with different quotas "
            f"({', '.join(quotas)}). A quota is the project's: name the same one in each, and each "
            "gets an equal part of it. Or write through one sink, with a Flatten before it or with "
            "projects= and destination=."
        )
    number = [each is sink and other is target for each, other in same].index(True)
    try:
        part = target.part_of_quota(number, len(same), sink.job.lanes)
    except SettingError:
        raise SettingError(
            f"The {len(same)} sinks {labels} share the quota of {target.quota} of one project "
            f"({where}), which is too little for all their lanes. Write through one sink, with a "
            "Flatten before it."
        ) from None
    if part.quota != target.quota and number == len(same) - 1:
        _LOGGER.warning(
            "The %d sinks %s write to one project (%s): each gets an equal part of its quota of "
            "%s. One sink, with a Flatten before it, could use all of it at any time.",
            len(same),
            labels,
            where,
            target.quota,
        )
    return part
