"""What the quota does with 1 to 1000 workers: tables for docs/scaling.md and
docs/decisions/simulation.md.

python -m benchmarks.simulate --seeds 3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import paths, report
from benchmarks.simulation import Outcome, Scenario, Simulation
from mixpanel_sink.settings.quota import Quota

PAGE, MINUTE, REFERENCE = Quota.page(), Quota.parse("600/minute"), Quota.reference()
_CALM = "nothing happens"
_MOVES = "lanes move, workers come and go, clocks 2 s apart"
_SAME = "a fifth of the bundles fails, and runs again on the same worker"
_OTHER = "the same, and runs again on another worker: what the failed one sent is forgotten"
_BROKEN = "a tenth of the answers is lost; lanes move"


def _moving(quota: Quota, seconds: float, **more: Any) -> Scenario:
    return Scenario(quota, seconds, moves=0.3, skew=2.0, **more)


def scenarios() -> list[tuple[str, Scenario]]:
    """What the table shows, in its order."""
    hours, minutes = 8 * 3600.0, 300.0
    found = [
        (_CALM, Scenario(PAGE, hours)),
        (_CALM, Scenario(MINUTE, minutes)),
        (_CALM, Scenario(REFERENCE, 600)),
        (_CALM, Scenario(REFERENCE, 600, latency=0.5)),
    ]
    for workers, lanes in ((10, 1), (100, 4), (1000, 16)):
        # WriteToMixpanel makes no request that is heavier than a lane's share.
        events = min(2000, REFERENCE.share(lanes - 1, lanes).most("events") or 2000)
        many = {"workers": workers, "lanes": lanes}
        found += [
            (_MOVES, _moving(PAGE, hours, bundle=10, rescale=1800, **many)),
            (_MOVES, _moving(MINUTE, minutes, rescale=30, **many)),
            (_MOVES, _moving(REFERENCE, 600, rescale=60, events=events, **many)),
        ]
    return [
        *found,
        (
            "the server's clock runs 0.04 % slow",
            _moving(PAGE, hours, workers=10, server_drift=0.0004),
        ),
        (_SAME, Scenario(PAGE, hours, workers=10, failures=0.2)),
        (_SAME, Scenario(MINUTE, minutes, workers=10, failures=0.2)),
        (_OTHER, Scenario(PAGE, hours, workers=10, failures=0.2, elsewhere=1.0, skew=2.0)),
        (_OTHER, Scenario(MINUTE, minutes, workers=10, failures=0.2, elsewhere=1.0, skew=2.0)),
        (_BROKEN, _moving(PAGE, hours, workers=10, broken=0.1)),
        (_BROKEN, _moving(MINUTE, minutes, workers=10, broken=0.1)),
        (
            "a tenth of the requests is stamped up to 30 s after its client gave up",
            Scenario(MINUTE, minutes, late=0.1),
        ),
        (
            "somebody else tries 200 requests an hour on the project",
            Scenario(PAGE, hours, foreign=200 / 3600),
        ),
    ]


def durations() -> str:
    """How long so many events take at least, from an unused quota on."""
    columns = {
        "60 an hour (default)": (PAGE, 314),
        "reference, 314 bytes an event": (REFERENCE, 314),
        "reference, 1 kB": (REFERENCE, 1000),
        "reference, 5 kB": (REFERENCE, 5000),
    }
    rows = []
    for events in (100_000, 1_000_000, 10_000_000, 1_000_000_000):
        row = [f"{events:,}", f"{-(-events // 2000):,}"]
        for quota, size in columns.values():
            requests = -(-events // min(2000, 10_000_000 // size))
            row.append(_words(quota.seconds_for(requests, events, events * size)))
        rows.append(row)
    return report.table(["events", "requests, at least", *columns], rows)


def _words(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


HEAD = (
    "what happens",
    "quota",
    "workers",
    "lanes",
    "requests",
    "lane moves",
    "most in any window",
    "used",
    "429s",
    "sent twice",
)


def row(title: str, scenario: Scenario, outcomes: Sequence[Outcome]) -> list[str]:
    """The worst of several runs."""
    refused = max(outcome.refused for outcome in outcomes)
    share = max(outcome.refused / max(1, outcome.requests) for outcome in outcomes)
    return [
        title if scenario.latency == 0.2 else f"{title}; answers in {scenario.latency:g} s",
        "reference" if scenario.quota == REFERENCE else str(scenario.quota),
        f"{scenario.workers:,}",
        str(scenario.lanes),
        f"{max(outcome.requests for outcome in outcomes):,}",
        f"{max(outcome.hops for outcome in outcomes):,}",
        f"{max(outcome.most for outcome in outcomes):.1%}",
        f"{min(outcome.used for outcome in outcomes):.1%}",
        f"{refused:,} ({share:.1%})" if refused else "0",
        f"{max(outcome.wasted for outcome in outcomes):.0%}",
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each; the worst is shown")
    parser.add_argument("--only-durations", action="store_true", help="without the simulation")
    parser.add_argument("--docs", type=Path, default=paths.REPOSITORY / "docs")
    options = parser.parse_args()

    report.put(options.docs / "scaling.md", "durations", durations())
    if options.only_durations:
        return 0
    rows = []
    for title, scenario in scenarios():
        outcomes = [Simulation(scenario, seed).run() for seed in range(options.seeds)]
        rows.append(row(title, scenario, outcomes))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    text = "\n\n".join(
        [
            f"Written by `python -m benchmarks.simulate --seeds {options.seeds}`, the worst of "
            f"{options.seeds} runs with the seeds 0 to {options.seeds - 1}; requests of 2000 "
            "events and 628 kB, answered in 0.2 s in the median, 64 in flight a lane.",
            report.table(HEAD, rows),
        ]
    )
    report.put(options.docs / "decisions" / "simulation.md", "simulation", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
