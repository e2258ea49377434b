"""The emulator's page in a real Chromium: what a person sees and does there."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mixpanel_sink.emulator.testing import Emulator

_QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
EVIL = "<img src=x onerror=document.title='hacked'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is missing; `make test` installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_QUIET)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    tab = browser.new_page(viewport={"width": 1200, "height": 800})
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))

    def on_console(said: Any) -> None:
        # The 400 that a test provokes is on the console as well.
        if said.type == "error" and "400" not in said.text:
            errors.append(said.text)

    tab.on("console", on_console)

    def on_failure(request: Any) -> None:
        # The page asks once a second: what is under way when it is left or closed is
        # aborted by the browser, and says nothing about the page.
        if request.failure != "net::ERR_ABORTED":
            errors.append(f"{request.url}: {request.failure}")

    tab.on("requestfailed", on_failure)
    yield tab
    tab.close()
    assert errors == []


def event(number: int, name: str = "Visit", **more: Any) -> dict[str, Any]:
    properties = {
        "distinct_id": f"user-{number}",
        "time": int(time.time() * 1000) - 60_000,
        "$insert_id": f"id-{number}-{name[:5]}".replace(" ", "-").replace("<", "x"),
        **more,
    }
    return {"event": name, "properties": properties}


@pytest.fixture
def filled(page: Page, reference: Any) -> Emulator:
    """An emulator that holds three events of three users, one of them with a profile."""
    emulator: Emulator = reference.emulator
    emulator.settings(variant="page")  # there $identify merges in every project
    events = [event(1), event(2, "Order Placed", amount=12), event(3, EVIL, note=EVIL)]
    assert reference.send(events).status_code == 200
    update = {
        "$token": emulator.project_token, "$distinct_id": "user-2",
        "$set": {"$name": "Jane"}, "$add": {"orders": 2},
    }  # fmt: skip
    assert reference.post("/engage", json=[update], data=None).status_code == 200
    link = {
        "event": "$identify",
        "properties": {
            "token": emulator.project_token, "distinct_id": "user-2", "$anon_id": "device-9",
        },
    }  # fmt: skip
    reference.post("/track", json=[link], data=None)
    page.goto(emulator.url + "/")
    expect(page.locator("tbody tr").first).to_be_visible()
    return emulator


def test_events_newest_first_with_their_properties(page: Page, filled: Emulator) -> None:
    expect(page).to_have_title("Events · Mixpanel stand-in")
    expect(page.locator("#totals")).to_contain_text("4 events · 3 requests")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_role("cell", name="Order Placed").click()
    expect(page.locator("#detail")).to_contain_text("amount")
    expect(page.locator("#detail")).not_to_contain_text(filled.project_token + '",')
    page.get_by_role("button", name=re.compile("^Request")).click()
    expect(page.locator("#detail h2").first).to_have_text("Request 1")


def test_what_clients_send_is_shown_and_never_run(page: Page, filled: Emulator) -> None:
    page.get_by_role("cell", name=EVIL).click()
    expect(page.locator("#detail")).to_contain_text(EVIL)
    assert "hacked" not in page.title()
    assert page.locator("main img, aside img").count() == 0


def test_search_by_event_and_user(page: Page, filled: Emulator) -> None:
    page.get_by_label("Event", exact=True).fill("Visit")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Event", exact=True).fill("")
    page.get_by_label("User", exact=True).fill("user-2")
    expect(page.locator("main tbody")).to_contain_text("Order Placed")
    page.get_by_label("User", exact=True).fill("nobody")
    expect(page.locator("main")).to_contain_text("No event fits.")


def test_new_events_come_by_themselves_until_paused(
    page: Page, filled: Emulator, reference: Any
) -> None:
    reference.send([event(10, "Fresh")])
    expect(page.get_by_role("cell", name="Fresh")).to_be_visible(timeout=10_000)
    page.keyboard.press("p")
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "false")
    reference.send([event(11, "Late")])
    page.wait_for_timeout(1500)
    assert page.get_by_role("cell", name="Late").count() == 0
    page.keyboard.press("p")
    expect(page.get_by_role("cell", name="Late")).to_be_visible(timeout=10_000)


def test_a_user_with_profile_operations_and_merged_ids(page: Page, filled: Emulator) -> None:
    page.keyboard.press("2")
    expect(page).to_have_title("Users · Mixpanel stand-in")
    page.get_by_role("cell", name="user-2", exact=True).click()
    detail = page.locator("#detail")
    expect(detail).to_contain_text("Merged: user-2, device-9")
    expect(detail).to_contain_text("Jane")
    expect(detail).to_contain_text('{"$set":{"$name":"Jane"},"$add":{"orders":2}}')
    expect(detail).to_contain_text("Order Placed")


def test_requests_and_the_quota(page: Page, filled: Emulator, reference: Any) -> None:
    filled.settings(quota="2/hour")
    page.keyboard.press("3")
    for number in (20, 21, 22):
        reference.send([event(number)])
    expect(page.locator("main")).to_contain_text("2 of 2 requests used in hour", timeout=10_000)
    expect(page.locator("tbody")).to_contain_text("429")
    page.get_by_label("Status").fill("429")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_faults_are_set_and_dropped(page: Page, filled: Emulator) -> None:
    page.keyboard.press("4")
    page.get_by_role("button", name="503 three times").click()
    expect(page.locator("#left")).to_contain_text('"times": 3')
    assert filled.remaining_faults() == [{"kind": "status", "status": 503, "times": 3}]
    page.get_by_label("Fault plan, as JSON").fill('[{"kind": "dance"}]')
    page.get_by_role("button", name="Set this plan").click()
    expect(page.get_by_role("status").last).to_contain_text("the fault kind 'dance' is unknown")
    page.get_by_role("button", name="No faults").click()
    expect(page.locator("#left")).to_have_text(re.compile(r'"faults": \[\]'))
    page.get_by_label("Quota", exact=True).fill("5/minute")
    page.get_by_role("button", name="Set quota").click()
    expect(page.get_by_role("status").last).to_have_text("Changed.")
    assert filled.stats()["quota"] == "5/minute"


def test_by_keyboard_alone(page: Page, filled: Emulator) -> None:
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("Order")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Page, filled: Emulator, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]


def test_nothing_comes_from_elsewhere(page: Page, filled: Emulator) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator("tbody tr").first).to_be_visible()
    assert asked
    assert all(url.startswith((filled.url, "data:")) for url in asked)
