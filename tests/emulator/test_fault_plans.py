"""How fault plans are read and used up, and which random faults there are."""

import time
from typing import get_args

import pytest
import requests

from mixpanel_sink.emulator.faults import KINDS, Fault, FaultPlan, Kind


def _distinct(api) -> int:
    return api.emulator.stats()["events_distinct"]


def _retry(api, event) -> None:
    """The retry lands, and the event is there once."""
    assert api.send([event]).status_code == 200
    assert _distinct(api) == 1


def test_order_skip_times_and_path(api) -> None:
    api.emulator.faults(
        [
            {"kind": "status", "status": 500, "times": 2, "skip": 1},
            {"kind": "status", "status": 502, "path": "/import"},
        ]
    )
    assert [api.send([api.event()]).status_code for _ in range(3)] == [200, 500, 500]
    assert api.send([api.event()], path="/track").status_code == 200
    assert api.emulator.remaining_faults() == [{"kind": "status", "status": 502, "path": "/import"}]
    assert [api.send([api.event()]).status_code for _ in range(2)] == [502, 200]
    assert api.emulator.remaining_faults() == []


def test_delete_clears(api) -> None:
    api.emulator.faults([{"kind": "reset"}])
    assert requests.delete(api.emulator.url + "/emulator/faults", timeout=10).ok
    assert api.send([api.event()]).status_code == 200


@pytest.mark.parametrize(
    "plan",
    [
        "text",
        [5],
        [{}],
        [{"kind": "flood"}],
        [{"kind": "status", "colour": "red"}],
        [{"kind": "status", "status": "500"}],
        [{"kind": "status", "status": True}],
        [{"kind": "status", "status": 99}],
        [{"kind": "reset", "times": 0}],
        [{"kind": "slow", "stored": False}],
        [{"kind": "quota", "quota": "many"}],
        {"rate": 2},
        {"seed": "x"},
        {"faults": {}},
        {"other": 1},
    ],
)
def test_wrong_plans(page, plan) -> None:
    answer = page.post("/emulator/faults", json=plan)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_random_plan_is_a_function_of_its_seed() -> None:
    def drawn(seed: int) -> list[Fault | None]:
        plan = FaultPlan(seed=seed, rate=0.3)
        return [plan.draw("/import") for _ in range(500)]

    assert drawn(7) == drawn(7) != drawn(8)
    assert 100 < sum(fault is not None for fault in drawn(7)) < 200


def test_random_plan_reads_back() -> None:
    plan = FaultPlan.parse({"seed": 7, "rate": 0.5, "kinds": [{"kind": "garbage"}]})
    again = FaultPlan.parse(plan.as_json())
    for _ in range(50):
        assert plan.draw("/import") == again.draw("/import")


def test_nothing_is_lost_or_doubled_under_random_faults(api) -> None:
    """The simplest correct client, retrying the same request, always ends with every event."""
    kinds = [
        {"kind": "status"},
        {"kind": "status", "status": 504, "stored": True},
        {"kind": "rate_limit"},
        {"kind": "reset"},
        {"kind": "reset", "stored": True},
        {"kind": "truncate"},
    ]
    api.emulator.faults({"seed": 3, "rate": 0.5, "kinds": kinds})
    sent = []
    for _ in range(20):
        events = [api.event() for _ in range(5)]
        sent += [event["properties"]["$insert_id"] for event in events]
        for _ in range(50):
            try:
                if api.send(events).status_code == 200:
                    break
            except requests.RequestException:
                continue
        else:
            raise AssertionError("50 tries were not enough")
    assert sorted(api.emulator.insert_ids()) == sorted(sent)


# Answers that no client should trust


def test_kinds_by_name(page) -> None:
    for name, count in (("random", 25), ("fatal", 5), ("all", 30)):
        page.emulator.faults({"seed": 1, "rate": 0.5, "kinds": name})
        shown = requests.get(page.emulator.url + "/emulator/faults", timeout=10).json()
        assert len(shown["kinds"]) == count
    answer = page.post("/emulator/faults", json={"rate": 0.5, "kinds": "some"})
    assert "random, fatal, all" in answer.json()["error"]


def test_every_kind_has_a_place_in_the_named_sets() -> None:
    """But `quota`, which only a plan that knows the quota can draw."""
    assert {fault.kind for fault in KINDS["all"]} == set(get_args(Kind)) - {"quota"}


def test_fault_kinds_are_told_to_a_page(page) -> None:
    shown = requests.get(page.emulator.url + "/emulator/faults/kinds", timeout=10).json()
    assert set(shown["kinds"]) == set(get_args(Kind))
    assert shown["fields"]["times"] == 1
    for fault in shown["random"]["all"]:
        assert Fault.parse(fault) in KINDS["all"]


def test_the_random_faults_end_well(api) -> None:
    """A client that retries the same request gets over each of `random`."""
    for fault in KINDS["random"]:
        api.emulator.reset()
        api.emulator.faults([fault.as_json()])
        events = [api.event() for _ in range(3)]
        for _ in range(20):
            try:
                answer = api.send(events)
                if answer.status_code == 200 and len(answer.content) < 1000:
                    said = answer.json()
                    if isinstance(said, dict) and said.get("num_records_imported", 3) == 3:
                        break
            except (requests.RequestException, ValueError):
                time.sleep(0.05)
        else:
            raise AssertionError(f"no end of {fault}")
        assert _distinct(api) == 3, fault
