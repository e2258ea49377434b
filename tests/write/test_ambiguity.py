"""Updates that may or may not have been applied are not sent twice."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, ClassVar

import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.settings.retry import RetryPolicy
from tests.conftest import TOKEN
from tests.running import failures, reasons, run
from tests.write.test_write_profiles import SEEDS, in_order, kept, profiles, random_updates


class TestAmbiguity:
    """A request was sent and no clear answer came."""

    UPDATES = (
        {"$distinct_id": "u", "$set": {"s": 1}},
        {"$distinct_id": "u", "$add": {"n": 1}},
        {"$distinct_id": "u", "$append": {"l": 1}},
        {"$distinct_id": "u", "$set": {"t": 1}, "$remove": {"l": 2}},
        {"$distinct_id": "u", "$union": {"k": [1]}, "$set_once": {"o": 1}, "$unset": ["z"]},
        {"$distinct_id": "v", "$delete": ""},
    )
    FAULTS: ClassVar[
        dict[str, tuple[dict[str, Any], bool]]
    ] = {  # with whether the first try was stored
        "reset": ({"kind": "reset"}, False),
        "reset after the store": ({"kind": "reset", "stored": True}, True),
        "504": ({"kind": "status", "status": 504}, False),
        "504 after the store": ({"kind": "status", "status": 504, "stored": True}, True),
        "truncated": ({"kind": "truncate"}, True),
        "garbage": ({"kind": "garbage"}, True),
        "timeout": ({"kind": "slow", "seconds": 1.5}, True),
        "short count": ({"kind": "short_count", "drop": 2}, True),
    }

    @pytest.mark.parametrize("name", FAULTS)
    def test_nothing_is_counted_twice(self, mixpanel: Emulator, name: str) -> None:
        fault, stored = self.FAULTS[name]
        mixpanel.faults([fault])
        retry = RetryPolicy(
            transient_seconds=5, first_wait=0.01, longest_wait=0.02, read_timeout=0.5
        )
        ran = run(in_order(self.UPDATES), profiles(mixpanel, lanes=1, retry=retry))
        assert reasons(ran) == ["ambiguous"] * 3
        assert {next(iter(set(f.event) - {"$distinct_id", "$set"})) for f in failures(ran)} == {
            "$add", "$append", "$remove"
        }  # fmt: skip
        assert "Look at the profile" in failures(ran)[0].message
        assert TOKEN not in repr(ran)
        assert ran.totals[0][0] == (6, 3, 3, 2)
        self.counted(mixpanel, most=1)
        expected = {"s": 1, "k": [1], "o": 1}
        if stored:
            expected |= {"n": 1, "l": [1], "t": 1}
        assert kept(mixpanel) == {"u": expected}

    def counted(self, mixpanel: Emulator, most: int) -> None:
        times = Counter(
            name for update in mixpanel.updates() for name in ("$add", "$append", "$remove")
            if name in update
        )  # fmt: skip
        assert all(number <= most for number in times.values()), times

    def test_retry_counts_at_least_once(self, mixpanel: Emulator) -> None:
        mixpanel.faults([{"kind": "reset"}, {"kind": "status", "status": 504, "stored": True}])
        ran = run(in_order(self.UPDATES), profiles(mixpanel, lanes=1, on_ambiguous="retry"))
        assert ran.totals[0][0] == (6, 6, 0, 3)
        assert kept(mixpanel)["u"]["n"] == 2

    @pytest.mark.parametrize(
        "fault",
        [{"kind": "rate_limit", "retry_after": "0"}, {"kind": "rate_limit"}],
    )
    def test_a_429_is_not_ambiguous(self, mixpanel: Emulator, fault: dict[str, Any]) -> None:
        mixpanel.faults([fault])
        ran = run(in_order(self.UPDATES), profiles(mixpanel, lanes=1))
        assert ran.totals[0][0] == (6, 6, 0, 2)
        assert kept(mixpanel)["u"]["n"] == 1

    @pytest.mark.parametrize("seed", SEEDS)
    def test_any_schedule_of_faults(self, mixpanel: Emulator, seed: int) -> None:
        print("seed", seed)
        rng = random.Random(seed)
        mixpanel.settings(
            variant=rng.choice(["page", "reference"]),
            failed_records_as=rng.choice(["objects", "strings"]),
        )
        kinds = [
            {"kind": "reset"}, {"kind": "reset", "stored": True}, {"kind": "truncate"},
            {"kind": "status", "status": 500}, {"kind": "status", "status": 504, "stored": True},
            {"kind": "rate_limit", "retry_after": "0"}, {"kind": "garbage"},
            {"kind": "short_count", "drop": 1}, {"kind": "status", "status": 413},
            {"kind": "failed_records", "records": [{"index": 0}]},
            {"kind": "status", "status": 400},
        ]  # fmt: skip
        mixpanel.faults({"seed": seed, "rate": rng.choice([0.1, 0.3]), "kinds": kinds})
        updates = random_updates(rng, 200, 20)
        for number, update in enumerate(updates):
            update["$ip"] = f"10.0.0.{number}"  # tells updates apart
        retry = RetryPolicy(
            transient_seconds=2, first_wait=0.005, longest_wait=0.01, breaker=1000, read_timeout=2
        )
        sink = profiles(mixpanel, lanes=2, retry=retry, limits=Limits(batch_events=20))
        ran = run(in_order(updates), sink)
        totals = ran.totals[0][0]
        assert totals.read == 200 == totals.accepted + totals.failed
        stored = Counter(update["$ip"] for update in mixpanel.updates(limit=10_000))
        failed = {failure.event["$ip"] for failure in failures(ran) if failure.event}
        assert len(failed) == totals.failed
        for update in updates:
            times = stored[update["$ip"]]
            if {"$add", "$append", "$remove"} & set(update):
                assert times <= 1, update
            if update["$ip"] not in failed:
                assert times >= 1, update
