"""The metrics that real runs emit are those that docs/metrics.md lists."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.report import metrics
from mixpanel_sink.results import REASONS
from tests.running import IN_PROCESS

ROOT = pathlib.Path(__file__).parents[2]
_NAMES = r"((?:`\w+`(?:, )?)+)"
_ROW = re.compile(rf"^\| {_NAMES} \| (counter|distribution)s? \| ([^|]+) \|", re.MULTILINE)

# A process of its own: two worker processes must find what they run in a module.
PIPELINE = """
import json, sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from mixpanel_sink import ApiSecret, EventMapping, TimeColumn, WriteToMixpanel
from mixpanel_sink.report.finished import NAMESPACE, read_counters, read_distributions

def record(number):
    user = "null" if number == 7 else f"u{number // 3}"
    visit = {"name": "Visit", "user": user, "at": 1_750_000_000, "text": "x" * 300}
    return {**visit, "order": number // 3, "number": number}

mapping = EventMapping(
    event="name",
    distinct_id="user",
    time=TimeColumn("at", unit="s"),
    insert_id="order",
    properties="all",
)
pipeline = beam.Pipeline(options=PipelineOptions(sys.argv[2:]))
(
    pipeline
    | beam.Create(range(4500))
    | beam.Map(record)
    | WriteToMixpanel(
        mapping, ApiSecret("env:TEST_API_SECRET"), endpoint=sys.argv[1], quota="1/1s"
    )
)
result = pipeline.run()
result.wait_until_finish()
found = result.metrics().query()
kinds = {
    metric.key.metric.name: kind.rstrip("s")
    for kind in ("counters", "distributions")
    for metric in found[kind]
    if metric.key.metric.namespace == NAMESPACE
}
spread = read_distributions(result)
print(json.dumps({"kinds": kinds, "counters": read_counters(result), "spread": spread}))
"""

RUNNERS = {
    "in this process": [f"--runner={IN_PROCESS}"],
    "two processes": [
        f"--runner={IN_PROCESS}",
        "--direct_num_workers=2",
        "--direct_running_mode=multi_processing",
    ],
}


def documented() -> dict[str, tuple[str, str]]:
    """Kind and when, by name: as the table has it."""
    text = (ROOT / "docs/metrics.md").read_text()
    rows = _ROW.findall(text)
    return {name: (kind, when) for names, kind, when in rows for name in re.findall(r"\w+", names)}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_run_emits_what_the_table_lists(
    mixpanel: Emulator, tmp_path: pathlib.Path, runner: str
) -> None:
    mixpanel.faults([{"kind": "status", "status": 503, "times": 1}])
    module = tmp_path / "metrics_pipeline.py"
    module.write_text(textwrap.dedent(PIPELINE))
    command = [sys.executable, str(module), mixpanel.url, *RUNNERS[runner]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout.splitlines()[-1])
    table = documented()

    emitted = set()
    for name, kind in run["kinds"].items():
        found = name
        if name.startswith("failed_"):
            assert name.removeprefix("failed_") in REASONS
            found = "failed_REASON"
        elif name.startswith("requests_"):
            found = "requests_STATUS"
        assert found in table, f"{name} is not documented"
        assert table[found][0] == kind
        emitted.add(found)
    always = {name for name, (_, when) in table.items() if when == "always"}
    assert always <= emitted, always - emitted

    counters = run["counters"]
    assert counters["records_read"] == 4500
    assert counters["events_accepted"] == 4499
    assert counters["records_failed"] == counters["failed_distinct_id_reserved"] == 1
    assert counters["long_strings"] == 4499
    assert counters["repeated_ids"] == 4499 - 1500
    assert counters["requests"] == counters["requests_200"] + counters["requests_503"]
    assert counters["requests_503"] == counters["retries"] == 1
    assert counters["cumulativeThrottlingSeconds"] >= 1
    assert counters["raw_bytes"] > 4499 * 300 > counters["sent_bytes"] > 0
    batches = counters["requests"] - 1
    assert run["spread"]["request_milliseconds"][0] == counters["requests"]
    assert run["spread"]["batch_milliseconds"][0] == batches
    assert run["spread"]["batch_events"][0] == batches
    assert run["spread"]["batch_events"][3] <= 2000


def test_the_table_is_that_of_the_module() -> None:
    for name in documented():
        assert name in (metrics.__doc__ or ""), name


class Metric(NamedTuple):
    key: Any
    committed: Any
    attempted: Any


def test_distributions_of_several_writes_are_added_up() -> None:
    def metric(namespace: str, name: str, **values: Any) -> Metric:
        key = SimpleNamespace(metric=SimpleNamespace(namespace=namespace, name=name))
        return Metric(key, values.get("committed"), values.get("attempted"))

    found = [
        metric("mixpanel_sink", "batch_events", committed=metrics.Spread(2, 30, 10, 20)),
        metric("mixpanel_sink", "batch_events", attempted=metrics.Spread(1, 5, 5, 5)),
        metric("mixpanel_sink", "batch_milliseconds", attempted=metrics.Spread(0, 0, 0, 0)),
        metric("another", "batch_events", committed=metrics.Spread(9, 9, 9, 9)),
    ]
    answer = SimpleNamespace(query=lambda: {"distributions": found})
    result = SimpleNamespace(metrics=lambda: answer)
    assert metrics.read_distributions(result) == {"batch_events": metrics.Spread(3, 35, 5, 20)}
