"""The real lanes under simulated workers, clocks and failures. The seed of a failure is printed
by Hypothesis, and gives the same run again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import simulate
from benchmarks.simulation import Scenario, Server, Simulation
from mixpanel_sink.settings.quota import Quota

QUOTAS = ["7/10s", "60/60s", "100000 events/20s", "40000 events/5s, 20 MB/20s"]


def test_the_servers_window_is_exact() -> None:
    server = Server(Quota.parse("2/10s"))
    assert server.post(0.0, 1, 1) is None
    assert server.post(4.0, 1, 1) is None
    assert server.post(9.5, 1, 1) == 1.0  # whole seconds, rounded up
    assert server.post(10.0, 1, 1) is None
    assert server.post(13.9, 1, 1) == 1.0
    assert (server.requests, server.refused) == (5, 2)
    assert server.most() == 2.0  # refused ones are attempts as well
    assert server.used(20.0) == 0.75


def test_the_servers_window_weighs_events() -> None:
    server = Server(Quota.parse("100 events/10s"))
    assert server.post(0.0, 60, 1) is None
    assert server.post(2.0, 30, 1) is None
    assert server.post(3.0, 50, 1) == 7.0
    assert server.post(3.0, 10, 1) is None


scenario = st.builds(
    Scenario,
    quota=st.sampled_from([Quota.parse(text) for text in QUOTAS]),
    seconds=st.just(120.0),
    workers=st.sampled_from([1, 2, 10, 1000]),
    lanes=st.sampled_from([1, 2, 4]),
    max_in_flight=st.sampled_from([1, 8, 64]),
    bundle=st.sampled_from([1, 5, 50]),
    moves=st.sampled_from([0.0, 0.1, 1.0]),
    rescale=st.sampled_from([0.0, 7.0]),
    skew=st.floats(0, 2),
    latency=st.sampled_from([0.01, 0.2, 2.0]),
)
seeds = st.integers(0, 2**32)


@settings(max_examples=40, deadline=None)
@given(scenario=scenario, seed=seeds)
def test_lanes_that_move_between_skewed_workers_keep_the_quota(
    scenario: Scenario, seed: int
) -> None:
    scenario = fitting(scenario)
    outcome = Simulation(scenario, seed).run()
    assert outcome.requests > 0
    assert outcome.most <= 1
    assert outcome.refused == 0


@settings(max_examples=20, deadline=None)
@given(scenario=scenario, seed=seeds)
def test_a_bundle_that_runs_again_on_its_worker_keeps_the_quota(
    scenario: Scenario, seed: int
) -> None:
    scenario = dataclasses.replace(fitting(scenario), moves=0.0, rescale=0.0, failures=0.3)
    outcome = Simulation(scenario, seed).run()
    assert outcome.most <= 1
    assert outcome.refused == 0


@settings(max_examples=20, deadline=None)
@given(scenario=scenario, seed=seeds)
def test_what_another_workers_failure_made_us_forget_costs_429s_but_the_job_goes_on(
    scenario: Scenario, seed: int
) -> None:
    scenario = dataclasses.replace(
        fitting(scenario), workers=10, failures=0.3, elsewhere=1.0, rescale=0.0
    )
    outcome = Simulation(scenario, seed).run()
    assert outcome.requests > outcome.refused
    assert outcome.most <= 1 + outcome.tries  # no more than one quota for each forgotten try


def fitting(scenario: Scenario) -> Scenario:
    """With requests that a lane's share lets through, as `WriteToMixpanel` makes them."""
    share = scenario.quota.share(scenario.lanes - 1, scenario.lanes)
    return dataclasses.replace(
        scenario,
        events=min(2000, share.most("events") or 2000),
        bytes=min(628_000, share.most("bytes") or 628_000),
    )


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_quiet_job_uses_its_quota_up(lanes: int) -> None:
    outcome = Simulation(Scenario(Quota.page(), 4 * 3600, lanes=lanes), seed=1).run()
    assert (outcome.most, outcome.refused) == (1, 0)
    assert outcome.used > 0.99


@pytest.mark.parametrize(
    ("lanes", "latency", "bundle"), [(1, 0.2, 50), (1, 0.5, 100), (4, 0.2, 50), (4, 1.0, 50)]
)
def test_the_references_rolling_minute_is_used_up(lanes: int, latency: float, bundle: int) -> None:
    scenario = Scenario(Quota.reference(), 300, lanes=lanes, latency=latency, bundle=bundle)
    outcome = Simulation(fitting(scenario), seed=1).run()
    assert outcome.refused == 0
    assert outcome.used > 0.97
    assert outcome.most <= 1


def test_equal_seeds_give_equal_runs() -> None:
    calm = Scenario(
        Quota.parse("20/10s"), 100, workers=5, failures=0.2, elsewhere=0.5, moves=0.2, skew=2
    )
    one, again, other = (Simulation(calm, seed).run() for seed in (7, 7, 8))
    assert one == again != other


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "scenarios", lambda: [("quiet", Scenario(Quota.page(), 7200.0))])
    durations, simulation = tmp_path / "scaling.md", tmp_path / "decisions/simulation.md"
    simulation.parent.mkdir()
    durations.write_text("# Scaling\n")
    simulation.write_text("# Does the quota hold?\n")
    monkeypatch.setattr("sys.argv", ["simulate", "--seeds=2", f"--docs={tmp_path}"])
    assert simulate.main() == 0
    assert "| 1,000,000,000 | 500,000 | 347.2 days | 9.2 h |" in durations.read_text()
    row = "| quiet | 60/hour | 1 | 1 | 120 | 0 | 100.0% | 100.0% | 0 | 0% |"
    assert row in simulation.read_text()


def test_every_scenario_of_the_table_fits_its_quota() -> None:
    for title, each in simulate.scenarios():
        assert fitting(each) == each, title
