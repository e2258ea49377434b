"""Sinks of one pipeline on one project: equal parts of its quota, or one sentence."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.internal import pickler

from mixpanel_sink import Project, ProjectToken, WriteProfilesToMixpanel, WriteToMixpanel
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.quota import Quota

TOKEN = ProjectToken("env:TOKEN")
OTHER = ProjectToken("env:OTHER")


def quotas(*sinks: Any, of: str = "quota") -> list[Any]:
    """What each sink's Send may use, in the graph."""
    pipeline = beam.Pipeline()
    records = pipeline | beam.Create([{}])
    for number, sink in enumerate(sinks):
        _ = records | f"Sink {number}" >> sink
    found: dict[str, Any] = {}

    class Visitor(beam.pipeline.PipelineVisitor):
        def visit_transform(self, node: Any) -> None:
            if isinstance(node.transform, beam.ParDo) and "/Send/" in node.full_label:
                job = pickler.loads(pickler.dumps(node.transform.fn))._job
                found[node.full_label] = {each.name: getattr(each, of) for each in job.targets}

    pipeline.visit(Visitor())
    return [each for _, each in sorted(found.items())]


def parsed(*texts: str) -> list[Quota]:
    return [Quota.parse(text) for text in texts]


def events(**more: Any) -> WriteToMixpanel:
    return WriteToMixpanel(None, more.pop("credentials", TOKEN), **more)


def test_equal_parts_that_add_up() -> None:
    found = quotas(*(events(quota="10/minute") for _ in range(3)))
    assert [quota for each in found for quota in each.values()] == parsed(
        "4/minute", "3/minute", "3/minute"
    )


def test_what_is_not_one_project_is_not_shared() -> None:
    found = quotas(
        events(quota="10/minute"),
        events(quota="9/minute", credentials=OTHER),
        events(quota="8/minute", region="eu"),
        WriteProfilesToMixpanel(None, TOKEN, quota="80/minute"),
    )
    assert [quota for each in found for quota in each.values()] == parsed(
        "10/minute", "9/minute", "8/minute", "80/minute"
    )


def test_only_the_project_in_common_is_shared() -> None:
    two = {"a": Project(TOKEN, quota="10/minute"), "b": Project(OTHER, quota="6/minute")}
    several = WriteToMixpanel(None, projects=two, destination="to")
    assert quotas(events(quota="10/minute"), several) == [
        {"api.mixpanel.com": Quota.parse("5/minute")},
        {"a": Quota.parse("5/minute"), "b": Quota.parse("6/minute")},
    ]


def test_different_quotas_of_one_project_are_refused() -> None:
    with pytest.raises(SettingError, match=r"different quotas .10/minute, 9/minute.*projects="):
        quotas(events(quota="10/minute"), events(quota="9/minute"))


def test_a_quota_that_is_too_small_for_all() -> None:
    with pytest.raises(SettingError, match=r"too little for all their lanes.*Flatten"):
        quotas(events(quota="1/minute"), events(quota="1/minute"))


def test_another_pipeline_is_another_job() -> None:
    for _ in range(2):
        assert quotas(events(quota="10/minute"))[0]["api.mixpanel.com"] == Quota.parse("10/minute")


def test_a_batch_is_never_heavier_than_its_part(caplog: pytest.LogCaptureFixture) -> None:
    found = quotas(*(events(quota="3000 events/minute") for _ in range(2)), of="limits")
    assert [each["api.mixpanel.com"].batch_events for each in found] == [1500, 1500]
    assert "each gets an equal part" in caplog.text
