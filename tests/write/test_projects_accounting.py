"""Accounting for each project, under faults too."""

from __future__ import annotations

import os
import random
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.results import Receipt
from mixpanel_sink.settings.retry import RetryPolicy
from tests.running import IN_PROCESS, failures, run
from tests.write.test_write_projects import NAMES, TEN, _running, mixpanel, record, stored, write  # noqa: F401


@pytest.mark.parametrize("seed", range(int(os.environ.get("MIXPANEL_SINK_SCHEDULES", "4"))))
def test_the_accounting_balances_under_random_faults(mixpanel: Emulator, seed: int) -> None:
    """Some project is refused in the middle, some batches break: each record is somewhere, once."""
    print("seed", seed)
    rng = random.Random(seed)
    kinds = [
        {"kind": "status", "status": 500}, {"kind": "reset", "stored": True},
        {"kind": "truncate"}, {"kind": "rate_limit", "retry_after": "0"},
        {"kind": "short_count", "drop": 1}, {"kind": "status", "status": rng.choice([401, 413])},
    ]  # fmt: skip
    mixpanel.faults({"seed": seed, "rate": rng.choice([0.1, 0.3]), "kinds": kinds})
    records = [record(n, rng.choice([*NAMES, "delta"])) for n in range(300)]
    retry = RetryPolicy(
        transient_seconds=0.05, first_wait=0.005, longest_wait=0.01, breaker=rng.choice([1, 1000])
    )
    sink = write(mixpanel, lanes=rng.choice([1, 2]), limits=TEN, retry=retry)
    ran = run(
        [pa.Table.from_pylist(records)] if seed % 2 else records, sink
    )  # the accounting is checked
    failed = [(f.event or {}).get("properties", {}).get("$insert_id") or f.record["id"]
              for f in failures(ran)]  # fmt: skip
    assert len(failed) == len(set(failed)) == ran.totals[0][0].failed
    events = stored(mixpanel)
    for each in records:
        if each["id"] not in failed:
            assert events[each["shop"]].count(each["id"]) == 1
    assert sum(map(len, events.values())) == len({i for e in events.values() for i in e})


def test_each_project_is_accounted_for(mixpanel: Emulator) -> None:
    """A receipt of one project cannot make up for a record of another."""

    def build() -> None:
        with beam.Pipeline(IN_PROCESS) as pipeline:
            sink = write(mixpanel, check_accounting=False)
            result = pipeline | beam.Create([record(0), record(1)]) | sink
            swapped = result.receipts | beam.Map(to_alpha).with_output_types(Receipt)
            _ = result._replace(receipts=swapped) | CheckAccounting()

    with pytest.raises(Exception, match="The accounting does not balance for alpha"):
        build()


def to_alpha(receipt: Any) -> Any:
    return receipt._replace(destination="alpha")
