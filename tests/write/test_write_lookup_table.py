"""`ReplaceLookupTable` in pipelines: all or nothing, and only what changed."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream as Script
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from mixpanel_sink import ReplaceLookupTable
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import CredentialsError, SettingError
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken
from tests.conftest import SECRET
from tests.prism import prism_or_skip
from tests.runners.matrix import JobFailed, Runner
from tests.running import FAST

SONGS = [{"id": "d2", "artist": "Gipsy, Kings"}, {"id": "c1", "artist": "Drake"}]
CSV = 'id,artist\r\nc1,Drake\r\nd2,"Gipsy, Kings"\r\n'


def sink(mixpanel: Emulator, id: str, **options: Any) -> ReplaceLookupTable:
    given: dict[str, Any] = {"endpoint": mixpanel.url, "retry": FAST, **options}
    return ReplaceLookupTable(id, ApiSecret("env:TEST_API_SECRET"), **given)


def run(runner: Runner, elements: Any, transform: ReplaceLookupTable, *before: Any) -> Any:
    def build(pipeline: Any) -> None:
        rows = pipeline | (beam.Create(elements) if isinstance(elements, list) else elements)
        for each in before:
            rows |= each
        runner.keep("table", rows | transform)

    runner.build_and_run(build)
    (out,) = runner.read("table")
    return out.value


@pytest.fixture
def direct(tmp_path: pathlib.Path) -> Runner:
    (tmp_path / "outputs").mkdir()
    return Runner("direct", tmp_path / "outputs")


@pytest.mark.parametrize(
    "elements",
    [
        SONGS,
        [beam.Row(**each) for each in SONGS],
        [pa.Table.from_pylist(SONGS[:1]), pa.Table.from_pylist(SONGS[1:])],
    ],
    ids=["dicts", "rows", "tables"],
)
def test_a_table_is_replaced(mixpanel: Emulator, direct: Runner, elements: list[Any]) -> None:
    id = mixpanel.create_lookup_table("Songs")
    result = run(direct, elements, sink(mixpanel, id))
    assert result == (id, ["id", "artist"], 2, len(CSV), True, 1)
    assert mixpanel.lookup_table(id) == CSV


def test_on_prism_with_windows_and_a_retried_request(
    mixpanel: Emulator, tmp_path: pathlib.Path
) -> None:
    prism_or_skip()
    (tmp_path / "outputs").mkdir()
    runner = Runner("prism", tmp_path / "outputs")
    id = mixpanel.create_lookup_table("Songs")
    mixpanel.faults([{"kind": "status", "status": 503, "path": f"/lookup-tables/{id}"}])
    before = (
        beam.Map(lambda each: TimestampedValue(each, 60 * len(each["artist"]))),
        beam.WindowInto(FixedWindows(60)),
    )
    result = run(runner, SONGS, sink(mixpanel, id, key="id"), *before)
    assert result[-2:] == (True, 2)
    assert mixpanel.lookup_table(id) == CSV


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([{"id": "c1", "artist": "Other"}], "the key 'c1' is also in"),
        ([{"id": "x", "artst": "Other"}], "has the column 'artst'"),
    ],
    ids=["twice", "other-column"],
)
def test_one_bad_row_and_nothing_is_sent(
    mixpanel: Emulator, direct: Runner, more: list[Any], says: str
) -> None:
    id = mixpanel.create_lookup_table("Songs")
    with pytest.raises(JobFailed, match="cannot be in the lookup table") as raised:
        run(direct, SONGS + more, sink(mixpanel, id))
    assert says in str(raised.value)
    assert mixpanel.stats()["requests"] == 0


def test_no_rows_replace_nothing(mixpanel: Emulator, direct: Runner) -> None:
    id = mixpanel.create_lookup_table("Songs")
    with pytest.raises(JobFailed, match="has no rows"):
        run(direct, [], sink(mixpanel, id))
    assert mixpanel.stats()["requests"] == 0


def test_only_what_changed(mixpanel: Emulator, direct: Runner, tmp_path: pathlib.Path) -> None:
    id = mixpanel.create_lookup_table("Songs")
    given = {"checkpoint": str(tmp_path / "kept")}
    assert run(direct, SONGS, sink(mixpanel, id, **given))[-2:] == (True, 1)
    assert run(direct, SONGS[::-1], sink(mixpanel, id, **given))[-2:] == (False, 0)
    assert mixpanel.stats()["requests"] == 1
    assert run(direct, SONGS[:1], sink(mixpanel, id, **given))[-2:] == (True, 1)
    assert run(direct, SONGS[:1], sink(mixpanel, id, force=True, **given))[-2:] == (True, 1)


def test_a_table_that_nobody_created(mixpanel: Emulator, direct: Runner) -> None:
    with pytest.raises(JobFailed, match="no lookup table with the id 'nope'"):
        run(direct, SONGS, sink(mixpanel, "nope"))


def test_settings(mixpanel: Emulator) -> None:
    with pytest.raises(CredentialsError, match="need a service account"):
        ReplaceLookupTable("x", ProjectToken("env:TEST_TOKEN"))
    with pytest.raises(SettingError, match="id is missing"):
        sink(mixpanel, "")
    with pytest.raises(SettingError, match="give a list of names"):
        sink(mixpanel, "x", columns="id")
    with pytest.raises(SettingError, match="checkpoint is a folder"):
        sink(mixpanel, "x", checkpoint=5)
    with pytest.raises(SettingError, match="unencrypted"):
        sink(mixpanel, "x", endpoint="http://example.com")
    shown = sink(mixpanel, "x").display_data()
    assert SECRET not in str(shown)
    assert shown["table"] == "x"
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    stream = pipeline | Script().advance_watermark_to_infinity()
    with pytest.raises(SettingError, match="bounded PCollection"):
        _ = stream | sink(mixpanel, "x")
