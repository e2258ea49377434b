"""`only_changed` in pipelines: raw updates, groups, two processes, and what cannot be compared."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream as Script

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import MappingError, SettingError
from mixpanel_sink.process import forget
from mixpanel_sink.settings.columns import Constant
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping
from tests.runners.matrix import Runner
from tests.running import Ran, reasons, run
from tests.write.test_write_profiles import groups, kept, profiles

MAPPING = ProfileMapping(distinct_id="user", set=["plan"])


def rows(**plans: str) -> list[dict[str, str]]:
    return [{"user": user, "plan": plan} for user, plan in plans.items()]


def accepted(ran: Ran) -> int:
    ((totals, _, _),) = ran.totals
    return int(totals.accepted)


@pytest.fixture
def given(tmp_path: pathlib.Path) -> dict[str, Any]:
    return {"checkpoint": str(tmp_path / "kept"), "only_changed": True}


def test_in_one_process_and_again(mixpanel: Emulator, given: dict[str, Any]) -> None:
    """Runs of one process know of each other, as those of two do."""
    first = run(rows(a="free", b="pro"), profiles(mixpanel, MAPPING, **given))
    assert accepted(first) == 2
    again = run(rows(a="free", b="new", c="pro"), profiles(mixpanel, MAPPING, **given))
    assert accepted(again) == 2
    assert again.counters["profiles_unchanged"] == 1
    assert {user: each["plan"] for user, each in kept(mixpanel).items()} == {
        "a": "free", "b": "new", "c": "pro"
    }  # fmt: skip


def test_in_several_processes(
    mixpanel: Emulator, given: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "out").mkdir()
    runner = Runner("processes", tmp_path / "out")
    people = {f"u{n}": "free" for n in range(40)}
    assert accepted(run(rows(**people), profiles(mixpanel, MAPPING, **given))) == 40
    forget()
    people |= {f"u{n}": "pro" for n in range(10)}
    done = runner.run(rows(**people), profiles(mixpanel, MAPPING, **given))
    assert done.totals[0].accepted == 10
    assert [each["plan"] for each in kept(mixpanel).values()].count("pro") == 10


def test_raw_updates_that_cannot_be_compared_fail(
    mixpanel: Emulator, given: dict[str, Any]
) -> None:
    updates = [
        {"$distinct_id": "a", "$set": {"plan": "pro"}},
        {"$distinct_id": "b", "$add": {"n": 1}},
        {"$distinct_id": "c", "$append": {"n": 1}, "$set": {"x": 1}},
    ]
    for expected in (1, 0):
        done = run(updates, profiles(mixpanel, **given))
        assert accepted(done) == expected
        assert reasons(done) == ["not_comparable"] * 2
        assert "t0ken" not in str(done.failed)
    assert {*kept(mixpanel)} == {"a"}


def test_groups(mixpanel: Emulator, given: dict[str, Any]) -> None:
    mapping = GroupMapping(group_key=Constant("company"), group_id="user", set=["plan"])
    assert accepted(run(rows(a="x", b="y"), groups(mixpanel, mapping, **given))) == 2
    assert accepted(run(rows(a="x", b="z"), groups(mixpanel, mapping, **given))) == 1


def test_a_profile_that_comes_twice_ends_as_the_last_row_says(
    mixpanel: Emulator, given: dict[str, Any]
) -> None:
    for _ in range(2):
        twice = beam.Create([*rows(a="one"), *rows(a="two")], reshuffle=False)
        run(twice, profiles(mixpanel, MAPPING, **given))
        assert kept(mixpanel)["a"]["plan"] == "two"


def test_settings(mixpanel: Emulator, given: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="needs a checkpoint"):
        profiles(mixpanel, MAPPING, only_changed=True)
    for operation in ("add", "append", "remove"):
        mapping = ProfileMapping(distinct_id="user", **{operation: ["n"]})  # type: ignore[arg-type]
        with pytest.raises(MappingError, match=f"the mapping's {operation} changes a profile"):
            profiles(mixpanel, mapping, **given)
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    stream = pipeline | Script().advance_watermark_to_infinity()
    sink = profiles(mixpanel, MAPPING, max_latency=1, **given)
    with pytest.raises(SettingError, match="the input must be bounded"):
        _ = stream | sink
