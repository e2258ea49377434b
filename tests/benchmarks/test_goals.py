"""The table of goals says what was reached, and whether that is enough."""

from __future__ import annotations

from benchmarks import goals, measure, runs
from benchmarks.serving import Stats


def _cost(seconds: float, peak_mb: float = 300) -> measure.Cost:
    return measure.Cost(0, False, seconds, seconds * 1.5, int(peak_mb * 1e6), 0.0, 0.0)


def _run(seconds: float, peak_mb: float = 300, events: int = 1000) -> runs.Run:
    stats = Stats(events, 1, 1, 0, 0, None, 0.1, ())
    return runs.Run(events, _cost(seconds, peak_mb), stats, "", 0.0)


FIGURES = goals.Figures(
    contestants={
        500: {"sink": [_run(2)], "plain_loop": [_run(1)], "sink_dicts": [_run(3)]}
        | {"naive": [_run(21)]},
        4000: {"sink": [_run(10), _run(10, 401)], "plain_loop": [_run(9)]}
        | {"sink_prism": [_run(15)]},
    },
    inputs={"orders": ([_run(5)], [_run(4)])},
    starts={"sink": [_run(1)], "naive": [_run(2)]},
    commands={"--help": [_cost(0.3)], "init": [_cost(0.9)], "check": [_cost(1)]},
    formats={"Parquet": 1.5, "JSON lines": 3.0, "CSV": 6.0},
)


def test_each_goal_has_its_figure() -> None:
    rows = {row[0]: row[1:] for row in (goal.row() for goal in FIGURES.goals())}
    assert rows == {
        "columnar, x plain loop, 4,000": ["at least 0.85", "0.90", "yes"],
        "the same, events a CPU-second, 4,000": ["at least 0.85", "0.90", "yes"],
        "columnar, x plain loop, 500": ["at least 0.60", "0.50", "no"],
        "columnar, peak MB, 4,000": ["at most 400", "401", "no"],
        "orders, x loop": ["at least 0.85", "0.80", "no"],
        "orders, x loop, events a CPU-second": ["at least 0.85", "0.80", "no"],
        "orders, peak MB": ["at most 400", "300", "yes"],
        "import of 2,000 events, seconds, x naive": ["at most 1.00", "0.50", "yes"],
        "import of 2,000 events, CPU, x naive": ["at most 1.00", "0.50", "yes"],
        "`mixpanel-sink --help`, seconds": ["at most 0.40", "0.30", "yes"],
        "`mixpanel-sink init`, seconds": ["at most 0.80", "0.90", "no"],
        "`mixpanel-sink check`, seconds": ["at most 1.00", "1.00", "yes"],
        "dicts, x naive, 500": ["at least 6.00", "7.00", "yes"],
        "Prism's seconds, x in process, 4,000": ["at most 1.40", "1.50", "no"],
        "JSON lines, CPU beyond the start, x Parquet": ["at most 2.50", "2.00", "yes"],
        "CSV, CPU beyond the start, x Parquet": ["at most 2.50", "4.00", "no"],
    }
