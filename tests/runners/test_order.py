"""Updates of a profile keep their order and are applied once each, also on a runner that splits a
bundle whose `process` blocks and runs the rest of its key at once, as Prism does."""

from __future__ import annotations

import collections
from typing import Any

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from tests.runners.matrix import IN_ONE_PROCESS, Runner
from tests.write.test_write_profiles import in_order, kept, profiles

TEN = Limits(batch_events=10)


def sets(count: int, users: int = 1) -> list[dict[str, Any]]:
    return [
        {"$distinct_id": f"u{n % users}", "$set": {"n": n}, "$add": {"times": 1}}
        for n in range(count)
    ]


@IN_ONE_PROCESS
def test_a_small_quota(mixpanel: Emulator, runner: Runner) -> None:
    updates = [{"$distinct_id": "u", "$set": {"n": n}} for n in range(80)]
    sink = profiles(mixpanel, lanes=1, quota="2/1s", limits=TEN)
    ran = runner.run(in_order(updates), sink)
    assert kept(mixpanel)["u"] == {"n": 79}
    assert mixpanel.stats()["requests"] == 8
    assert ran.totals[0].accepted == 80


@IN_ONE_PROCESS
def test_a_slow_server(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.settings(latency_ms=250)
    updates = [{"$distinct_id": "u", "$set": {"n": n}} for n in range(200)]
    ran = runner.run(in_order(updates), profiles(mixpanel, lanes=1, quota="none", limits=TEN))
    assert kept(mixpanel)["u"] == {"n": 199}
    assert ran.totals[0].accepted == 200


@IN_ONE_PROCESS
def test_two_users_in_one_lane(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.settings(latency_ms=100)
    sink = profiles(mixpanel, lanes=1, quota="2/1s", limits=TEN)
    ran = runner.run(in_order(sets(80, users=2)), sink)
    assert kept(mixpanel) == {"u0": {"n": 78, "times": 40}, "u1": {"n": 79, "times": 40}}
    assert ran.totals[0].accepted == 80
    applied = collections.Counter(out.value.accepted for out in ran.receipts)
    assert sum(accepted * times for accepted, times in applied.items()) == 80
