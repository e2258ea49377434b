"""Users, groups, requests, lookup tables, exports and faults in the browser."""

from __future__ import annotations

import json
import re
from typing import Any

import requests
from playwright.sync_api import Page, expect

from mixpanel_sink.emulator.testing import Emulator
from tests.emulator.page.conftest import event


def test_a_user_with_profile_operations_and_merged_ids(tab: Page, filled: Emulator) -> None:
    tab.keyboard.press("2")
    expect(tab).to_have_title("Users · Mixpanel emulator")
    tab.get_by_role("cell", name="user-2", exact=True).click()
    detail = tab.locator("#detail")
    expect(detail).to_contain_text("device-9")
    expect(detail).to_contain_text("Jane")
    tab.get_by_role("tab", name=re.compile("Operations")).click()
    expect(detail).to_contain_text('"$set"')
    tab.get_by_role("tab", name=re.compile("Events")).click()
    expect(detail).to_contain_text("Order Placed")
    tab.get_by_label("Search ids and properties").fill("nobody")
    expect(tab.locator("main")).to_contain_text("No users match.")


def test_a_group(tab: Page, filled: Emulator) -> None:
    tab.keyboard.press("3")
    tab.get_by_role("cell", name="acme").click()
    expect(tab.locator("#detail")).to_contain_text("seats")
    expect(tab.locator("#detail")).to_contain_text("Group of company")


def test_requests_the_quota_and_the_charts(tab: Page, filled: Emulator, reference: Any) -> None:
    filled.settings(quota="2/hour")
    tab.keyboard.press("4")
    for number in (20, 21, 22):
        reference.send([event(number)])
    expect(tab.locator("main")).to_contain_text("2 of 2 requests used")
    expect(tab.locator("tbody .pill.limited")).to_have_text("429")
    for title in ("Requests per minute", "New events per second", "Mean latency", "Quota used"):
        expect(tab.get_by_role("img", name=re.compile(title))).to_be_visible()
    expect(tab.get_by_role("img", name=re.compile("rate limited 1"))).to_be_visible()
    tab.get_by_label("Status").select_option("429")
    expect(tab.locator("tbody tr")).to_have_count(1)
    assert "status=429" in tab.url


def test_a_request_with_body_answer_and_failed_records(
    tab: Page, filled: Emulator, reference: Any
) -> None:
    events = [event(n) for n in range(30)]
    events[7]["properties"]["time"] = "noon"
    reference.send(events, zipped=True)
    number = len(filled.requests())
    tab.goto(f"{filled.url}/emulator/#/requests?open={number}")
    detail = tab.locator("#detail")
    expect(detail).to_contain_text("gzip")
    tab.get_by_role("tab", name="Failed records (1)").click()
    expect(detail).to_contain_text("#7")
    expect(detail).to_contain_text("properties.time")
    expect(detail).to_contain_text("must be specified as seconds")
    tab.get_by_role("tab", name="Answer").click()
    expect(detail.locator("pre")).to_contain_text('"num_records_imported": 29')
    tab.get_by_role("tab", name="Body (30)").click()
    expect(detail.locator("pre")).to_have_count(20)
    tab.get_by_role("button", name="Show all 30 records").click()
    expect(detail).to_contain_text("user-29")
    expect(detail.locator("pre")).to_have_count(1)
    assert tab.url.endswith("tab=body")


def test_a_request_whose_body_cannot_be_read(tab: Page, filled: Emulator, reference: Any) -> None:
    reference.send(b"{oops")
    tab.goto(f"{filled.url}/emulator/#/requests?open={len(filled.requests())}&tab=body")
    detail = tab.locator("#detail")
    expect(detail.locator(".note")).to_contain_text("the body is not valid JSON")
    expect(detail.locator("pre")).to_have_text("{oops")


def test_statuses_have_their_own_colours(tab: Page, filled: Emulator, reference: Any) -> None:
    filled.faults([{"kind": "status", "status": 503}, {"kind": "status", "status": 429}])
    for auth in ("secret", "secret", ("wrong", ""), "secret"):
        reference.send([event(1)], auth=auth)
    tab.keyboard.press("4")
    colours = {
        name: tab.locator(f"tbody .pill.{name}").first.evaluate("e => getComputedStyle(e).color")
        for name in ("ok", "limited", "refused", "broken")
    }
    assert len(set(colours.values())) == 4


def test_a_lookup_table(tab: Page, filled: Emulator) -> None:
    tab.keyboard.press("5")
    tab.get_by_label("Name of a new table").fill("Songs")
    tab.get_by_role("button", name="Create").click()
    tab.get_by_role("cell", name="Songs").click()
    expect(tab.locator("#detail")).to_contain_text("Nothing has been uploaded yet.")
    (table,) = filled.lookup_tables()
    requests.put(
        f"{filled.url}/lookup-tables/{table['id']}",
        b"id,artist\n1,Drake\n",
        auth=(filled.api_secret, ""),
        timeout=10,
    )
    tab.keyboard.press("Escape")
    tab.get_by_role("cell", name="Songs").click()
    expect(tab.locator("#detail")).to_contain_text("1,Drake")


def test_exports(tab: Page, filled: Emulator) -> None:
    assert list(filled.export("2020-01-01", "2100-01-01"))
    tab.keyboard.press("6")
    expect(tab.locator("tbody")).to_contain_text("/api/2.0/export")
    expect(tab.locator("main")).to_contain_text("curl")


def test_faults_are_set_and_dropped(tab: Page, filled: Emulator) -> None:
    tab.keyboard.press("7")
    tab.get_by_role("button", name="503 three times").click()
    expect(tab.locator("#left")).to_contain_text('"times": 3')
    assert filled.remaining_faults() == [{"kind": "status", "status": 503, "times": 3}]
    tab.get_by_label("Fault plan, as JSON").fill('[{"kind": "dance"}]')
    tab.get_by_role("button", name="Set this plan").click()
    expect(tab.locator(".told")).to_contain_text("the fault kind 'dance' is unknown")
    tab.get_by_role("button", name="No faults").click()
    expect(tab.locator("#left")).to_have_text(re.compile(r'"faults": \[\]'))
    tab.get_by_label("Quota", exact=True).fill("5/minute")
    tab.get_by_role("button", name="Set quota").click()
    expect(tab.locator(".told")).to_have_text("Changed.")
    assert filled.stats()["quota"] == "5/minute"


def test_reset(tab: Page, filled: Emulator) -> None:
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.keyboard.press("7")
    tab.get_by_role("button", name="Reset everything").click()
    expect(tab.locator(".told")).to_have_text("Everything is forgotten.")
    assert filled.events() == []
    assert json.loads(tab.locator("#left").inner_text()) == {"faults": []}
