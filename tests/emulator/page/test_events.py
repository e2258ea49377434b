"""Events in the browser: the list, the search, the chart, the detail, addresses, keys."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Page, expect

from mixpanel_sink.emulator.testing import Emulator
from tests.emulator.page.conftest import EVIL, event


def test_newest_first_with_their_properties(tab: Page, filled: Emulator) -> None:
    expect(tab).to_have_title("Events · Mixpanel emulator")
    expect(tab.locator("#tiles")).to_contain_text("Events4")
    expect(tab.locator("tbody tr")).to_have_count(4)
    tab.get_by_role("cell", name="Order Placed").click()
    detail = tab.locator("#detail")
    expect(detail).to_contain_text("amount")
    expect(detail.locator(".tree")).to_contain_text("sku")
    expect(detail).not_to_contain_text(filled.project_token)
    tab.get_by_role("tab", name="JSON").click()
    expect(detail.locator("pre")).to_contain_text('"amount": 12')
    tab.get_by_role("link", name="Request 1", exact=True).click()
    expect(detail.locator("h2").first).to_have_text("/import")


def test_what_clients_send_is_shown_and_never_run(tab: Page, filled: Emulator) -> None:
    tab.get_by_role("cell", name=EVIL, exact=True).click()
    expect(tab.locator("#detail")).to_contain_text(EVIL)
    assert "hacked" not in tab.title()
    assert tab.locator("main img, aside img").count() == 0


def test_search_finds_anywhere_and_the_chart_follows(tab: Page, filled: Emulator) -> None:
    search = tab.get_by_label("Search names, ids and properties")
    search.fill("a-1")
    expect(tab.locator("tbody tr")).to_have_count(1)
    expect(tab.locator("main tbody")).to_contain_text("Order Placed")
    expect(tab.locator(".told")).to_have_text(
        "1 event found. Searched names, ids and properties of all 4 events."
    )
    expect(tab.locator(".legend")).to_have_text("Order Placed1")
    chart = tab.get_by_role("img", name=re.compile("Events over time"))
    expect(chart).to_have_attribute("aria-label", re.compile("Order Placed 1$"))
    search.fill("nowhere")
    expect(tab.locator("main")).to_contain_text("No events match.")
    tab.get_by_role("button", name="Clear the filters").click()
    expect(tab.locator("tbody tr")).to_have_count(4)


def test_the_chart_of_a_search_counts_events_of_any_name(
    tab: Page, filled: Emulator, reference: Any
) -> None:
    names = ["__proto__", "constructor", "toString"]
    reference.send([event(10 + n, name, odd="needle") for n, name in enumerate(names)])
    tab.get_by_label("Search names, ids and properties").fill("needle")
    expect(tab.locator("tbody tr")).to_have_count(3)
    for name in names:
        expect(tab.locator(".legend")).to_contain_text(f"{name}1")


def test_filters_by_event_and_user(tab: Page, filled: Emulator) -> None:
    tab.get_by_label("Event", exact=True).fill("Visit")
    expect(tab.locator("tbody tr")).to_have_count(1)
    tab.get_by_label("Event", exact=True).fill("")
    tab.get_by_label("User", exact=True).fill("user-2")
    expect(tab.locator("main tbody")).to_contain_text("Order Placed")


def test_every_state_has_an_address(tab: Page, filled: Emulator) -> None:
    tab.goto(f"{filled.url}/emulator/#/events?search=order&event=Order+Placed&open=2&tab=json")
    tab.reload()
    expect(tab.locator("#search")).to_have_value("order")
    expect(tab.locator("#detail pre")).to_contain_text("Order Placed")
    tab.goto(f"{filled.url}/emulator/#/users?open=user-2&tab=operations")
    expect(tab.locator("#detail")).to_contain_text("orders")
    tab.go_back()
    expect(tab.locator("#detail pre")).to_contain_text("Order Placed")
    expect(tab.locator("#search")).to_have_value("order")
    tab.go_forward()
    expect(tab).to_have_title("Users · Mixpanel emulator")


def test_a_range_is_chosen_on_the_chart(tab: Page, filled: Emulator, reference: Any) -> None:
    hours = 3_600_000
    old = [event(n, "Old", time=1_700_006_400_000 + n * hours) for n in range(48)]
    reference.send(old)
    tab.goto(f"{filled.url}/emulator/#/events?event=Old")
    drawing = tab.locator("main svg")
    expect(drawing).to_be_visible()
    expect(tab.locator(".told")).to_contain_text("48 events found")
    box = drawing.bounding_box()
    assert box is not None
    y = box["y"] + 60
    tab.mouse.move(box["x"] + box["width"] * 0.4, y)
    expect(tab.locator("#tip")).to_contain_text("Old")
    tab.mouse.down()
    reference.send([event(50, "Old", time=1_700_006_400_000)])  # the chart waits for the mouse
    expect(tab.locator(".told")).to_contain_text("49 events found")
    tab.mouse.move(box["x"] + box["width"] * 0.6, y)
    tab.mouse.up()
    expect(tab.locator(".chip")).to_be_visible()
    assert "from=" in tab.url
    expect(tab.locator("tbody tr").first).to_be_visible()
    expect(tab.locator(".told")).not_to_contain_text("49 events found")
    assert 5 <= tab.locator("tbody tr").count() <= 20
    tab.locator(".chip").click()
    expect(tab.locator("tbody tr")).to_have_count(49)


def test_new_events_come_by_themselves_until_paused(
    tab: Page, filled: Emulator, reference: Any
) -> None:
    reference.send([event(10, "Fresh")])
    expect(tab.get_by_role("cell", name="Fresh")).to_be_visible()
    tab.keyboard.press("p")
    expect(tab.locator("#live")).to_have_attribute("aria-pressed", "false")
    reference.send([event(11, "Late")])
    tab.wait_for_timeout(1500)
    assert tab.get_by_role("cell", name="Late").count() == 0
    tab.keyboard.press("p")
    expect(tab.get_by_role("cell", name="Late")).to_be_visible()


def test_what_a_search_found_grows_too(tab: Page, filled: Emulator, reference: Any) -> None:
    tab.get_by_label("Event", exact=True).fill("Visit")
    expect(tab.locator("tbody tr")).to_have_count(1)
    reference.send([event(12), event(13, "Other")])
    expect(tab.locator("tbody tr")).to_have_count(2)
    expect(tab.locator(".told")).to_contain_text("2 events found")


def test_older_events(tab: Page, filled: Emulator, reference: Any) -> None:
    reference.send([event(n, "Many") for n in range(100, 350)])
    tab.goto(f"{filled.url}/emulator/#/events?event=Many")
    expect(tab.locator("tbody tr")).to_have_count(100)
    for count in (200, 250):
        tab.get_by_role("button", name="Older events").click()
        expect(tab.locator("tbody tr")).to_have_count(count)


def test_copy_and_download(tab: Page, filled: Emulator) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=filled.url)
    tab.get_by_role("cell", name="Order Placed").click()
    tab.get_by_role("button", name="Copy as curl").click()
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl '{filled.url}/import?strict=1&project_id=42'")
    assert f"-u '{filled.api_secret}:'" in copied
    tab.get_by_role("button", name="Copy JSON").click()
    tab.wait_for_timeout(100)
    copied = json.loads(tab.evaluate("navigator.clipboard.readText()"))
    assert copied["event"] == "Order Placed"
    tab.keyboard.press("Escape")
    tab.get_by_label("Event", exact=True).fill("Visit")
    expect(tab.locator("tbody tr")).to_have_count(1)
    with tab.expect_download() as waiting:
        tab.get_by_role("link", name="Download").click()
    lines = waiting.value.path().read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["Visit"]


def test_by_keyboard_alone(tab: Page, filled: Emulator) -> None:
    tab.keyboard.press("j")
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    expect(tab.locator("#detail")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.locator("#detail")).to_be_hidden()
    tab.keyboard.press("/")
    expect(tab.locator("#search")).to_be_focused()
    tab.keyboard.type("Order")
    expect(tab.locator("tbody tr")).to_have_count(1)
    tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    expect(tab.locator("#help")).to_be_visible()


def test_the_empty_page_says_how_to_begin(tab: Page, reference: Any) -> None:
    tab.goto(reference.emulator.url + "/")
    expect(tab.locator("main")).to_contain_text("Waiting for the first event")
    expect(tab.locator("main")).to_contain_text(f"-u '{reference.emulator.api_secret}:'")
    expect(tab.locator("main")).to_contain_text("mixpanel-sink import events.parquet")
    reference.send([event(1, "First")])
    expect(tab.get_by_role("cell", name="First")).to_be_visible()
