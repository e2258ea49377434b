"""The property that marks a run, and the salt that renews ids."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mixpanel_sink import (
    ApiSecret,
    ContentId,
    EventMapping,
    MappingError,
    PositionId,
    SettingError,
    WriteToMixpanel,
)
from mixpanel_sink.configured import write_of
from mixpanel_sink.settings.columns import ColumnsId
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.run_mark import RunMark

PLAIN = "event: name\ndistinct_id: user\ntime: at\n"


def test_a_run_has_a_name_of_its_own() -> None:
    one, other = RunMark("import_run"), RunMark("import_run")
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", one.run)
    assert one != other
    assert RunMark("import_run", "dag-7").json == ',"import_run":"dag-7"'


@pytest.mark.parametrize(
    ("name", "run", "said"),
    [
        ("time", "x", "uses itself"),
        ("bucket", "x", "uses itself"),
        ("$run", "x", "uses itself"),
        ("mp_run", "x", "uses itself"),
        ("läuft", "x", "run_property is"),
        ("run", "x" * 256, "run_id must have 1 to 255"),
        ("", "x", "run_property must have 1 to 255"),
        ("run", "a\nb", "run_id is"),
    ],
)
def test_a_wrong_mark(name: str, run: str, said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        RunMark(name, run)


@pytest.mark.parametrize(
    "more", [{"constants": {"run": 1}}, {"rename": {"load": "run"}, "properties": ["load"]}]
)
def test_the_mapping_must_leave_the_property_free(more: dict[str, Any]) -> None:
    mapping = EventMapping("name", "at", "user", **more)
    with pytest.raises(SettingError, match="has a property 'run' already"):
        WriteToMixpanel(mapping, ApiSecret("env:X"), run_property="run")


def test_so_must_the_columns_where_they_are_known() -> None:
    mapping = EventMapping("name", "at", "user")
    RunMark("run").check(mapping, ["name", "at", "user", "ran"])
    with pytest.raises(SettingError, match="rename the column"):
        RunMark("run").check(mapping, ["name", "at", "user", "run"])
    RunMark("run").check(None, ["run"])  # raw events are marked again


def test_only_events_are_marked() -> None:
    given = {"run_property": "run", "run_id": "7", "api_secret": "env:X"}
    assert write_of(Settings.of(given, "import"), None).mark == RunMark("run", "7")
    profiles = {"run_property": "run", "project_token": "env:X", "endpoint_kind": "engage"}
    with pytest.raises(SettingError, match="--run-property marks events"):
        write_of(Settings.of(profiles, "import"), None)
    with pytest.raises(SettingError, match="name it in run_property"):
        write_of(Settings.of({"run_id": "7", "api_secret": "env:X"}, "import"), None)


@pytest.mark.parametrize(
    ("yaml", "rule"),
    [
        ("{from: content, salt: second}", ContentId("second")),
        ("{from: position, salt: '2'}", PositionId("2")),
        ("{columns: [a, b], salt: x}", ColumnsId(("a", "b"), "x")),
        ("{column: a, salt: x}", ColumnsId(("a",), "x")),
    ],
)
def test_a_salt_in_yaml(yaml: str, rule: Any) -> None:
    mapping = EventMapping.from_yaml(f"{PLAIN}insert_id: {yaml}\n")
    assert mapping.insert_id == rule
    assert mapping.salt == rule.salt
    assert EventMapping.from_dict(mapping.to_dict()) == mapping


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("{from: content, salt: 2}", "it must be text: quote it"),
        ("{salt: x}", "with a salt: {columns"),
        ("{from: content, pepper: x}", "with a salt: {columns"),
        ('{from: content, salt: "a\\0b"}', "holds a NUL"),
    ],
)
def test_a_wrong_salt(yaml: str, said: str) -> None:
    with pytest.raises(MappingError, match=re.escape(said)):
        EventMapping.from_yaml(f"{PLAIN}insert_id: {yaml}\n")
