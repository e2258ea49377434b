"""Many kinds of writes in one pipeline, on every runner: each arrives as if it were alone."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_stream import TestStream as Script

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.project import Project
from mixpanel_sink.write import WriteToMixpanel
from tests.runners.matrix import IN_ONE_PROCESS, JobFailed, Runner
from tests.runners.test_compositions import count_beside, counted
from tests.running import FAST
from tests.write.test_write import MAPPING, record, write
from tests.write.test_write_profiles import in_order, kept, profiles

PROJECTS = {f"p{number}": number for number in range(1, 51)}
TEN = Limits(batch_events=10)
LARGE = "x" * 900_000


@pytest.fixture(scope="module")
def _running() -> Iterator[Emulator]:
    projects = [
        {"id": number, "token": f"token-{name}-0123456789", "api_secret": f"secret-{name}-01234"}
        for name, number in PROJECTS.items()
    ]
    with Emulator(projects=projects, variant="reference") as running:
        yield running


@pytest.fixture
def fifty(_running: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """An emulator with fifty projects, which takes its time."""
    _running.reset(quota="none", latency_ms=40)
    forget()
    monkeypatch.setenv("TEST_TOKEN", "token-p1-0123456789")
    monkeypatch.setenv("TEST_API_SECRET", "secret-p1-01234")
    for name in PROJECTS:
        monkeypatch.setenv(f"SECRET_{name}", f"secret-{name}-01234")
    return _running


def to_fifty_projects(mixpanel: Emulator) -> WriteToMixpanel:
    projects = {
        name: Project(ApiSecret(f"env:SECRET_{name}"), endpoint=mixpanel.url, quota="none")
        for name in PROJECTS
    }
    return WriteToMixpanel(MAPPING, projects=projects, destination="name", retry=FAST)


def everything(pipeline: Any, mixpanel: Emulator, runner: Runner) -> None:
    """Fifty projects, two hundred lanes, large records, ordered updates within a small quota, and
    a user's own timers."""
    spread = [record(n, name=f"p{1 + n % 50}") for n in range(100)]
    records = pipeline | "Spread" >> beam.Create(spread)
    _ = records | "Fifty" >> to_fifty_projects(mixpanel)
    count_beside(records, runner)

    lanes = write(mixpanel, lanes=200, limits=Limits(batch_events=1))
    _ = pipeline | "Few" >> beam.Create([record(n) for n in range(100, 160)]) | "Lanes" >> lanes

    large = pipeline | "Large" >> beam.Create([record(n) for n in range(200, 212)])
    _ = large | "Grow" >> beam.Map(grown) | "Write large" >> write(mixpanel)

    updates = [{"$distinct_id": "u", "$set": {"n": n}, "$add": {"times": 1}} for n in range(80)]
    ordered = profiles(mixpanel, lanes=1, quota="3/2s", limits=TEN)
    _ = pipeline | "Updates" >> in_order(updates) | "Profiles" >> ordered


def grown(element: dict[str, Any]) -> dict[str, Any]:
    return {**element, "text": LARGE}


@pytest.mark.parametrize("runner", ["direct", "processes", "prism", "switching"], indirect=True)
def test_each_arrives_as_if_it_were_alone(fifty: Emulator, runner: Runner) -> None:
    done = runner.build_and_run(lambda pipeline: everything(pipeline, fifty, runner))
    if runner.name in ("prism", "switching"):
        assert "portable_runner" in type(done).__module__
    assert counted(runner) == 100
    expected = [*range(160), *range(200, 212)]
    assert sorted(fifty.insert_ids()) == sorted(f"id-{n}" for n in expected)
    for name, number in PROJECTS.items():
        names = [each["event"]["event"] for each in fifty.event_details(1000, project=number)]
        assert names.count(name) == 2, "each project has its own"
    assert kept(fifty)["u"] == {"n": 79, "times": 80}
    sizes = [each["body_bytes"] for each in fifty.requests()]
    assert sum(size > 900_000 for size in sizes) == 2
    assert max(sizes) < 10 * 1024 * 1024
    answers = fifty.stats()["requests_by_endpoint"]
    assert answers["/engage"] == {"200": 8}
    assert answers["/import"] == {"200": 50 + 60 + 2}


class Fails(beam.DoFn):
    """Lets so many receipts pass, and then fails the bundle that they came from."""

    def __init__(self, after: int) -> None:
        self._left = after

    def process(self, receipt: Any) -> Iterator[Any]:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("poison")
        yield receipt


@pytest.mark.parametrize(
    ("runner", "checkpoint"),
    [
        ("direct", False),
        ("direct", True),
        ("prism", False),
        ("prism", True),
        ("processes", True),
    ],
    indirect=["runner"],
)
def test_a_bundle_that_fails_after_thirty_requests(
    mixpanel: Emulator, runner: Runner, tmp_path: pathlib.Path, checkpoint: bool
) -> None:
    more = {"checkpoint": str(tmp_path / "log")} if checkpoint else {}
    records = [record(n) for n in range(400)]

    def build(pipeline: Any, fails: int) -> None:
        sink = write(mixpanel, limits=TEN, max_in_flight=1, **more)
        result = pipeline | beam.Create(records, reshuffle=False) | sink
        _ = result.receipts | beam.ParDo(Fails(fails))

    with pytest.raises(Exception, match="poison"):
        runner.build_and_run(lambda pipeline: build(pipeline, 30))
    sent = mixpanel.stats()["requests"]
    assert sent > 30
    runner.build_and_run(lambda pipeline: build(pipeline, 1000))
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in records)
    requests = mixpanel.stats()["requests"]
    assert requests == (40 if checkpoint else sent + 40)


@IN_ONE_PROCESS
def test_a_stream_that_must_not_lose_a_record_fails_with_the_first(
    mixpanel: Emulator, runner: Runner
) -> None:
    script = Script().add_elements([record(0)]).advance_watermark_to(10)
    script.add_elements([record(1, user="null")]).advance_watermark_to_infinity()

    def build(pipeline: Any) -> None:
        _ = pipeline | script | write(mixpanel, max_latency=60, on_failure="fail")

    with pytest.raises(JobFailed, match=r"distinct_id_reserved.*on_failure"):
        runner.build_and_run(build, streaming=True)
