"""A real Chromium, and an emulator that holds something to look at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from mixpanel_sink.emulator.testing import Emulator

EVIL = "<img src=x onerror=document.title='hacked'>"


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.set_default_timeout(15_000)
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
def filled(tab: Page, reference: Any) -> Emulator:
    """An emulator that holds four events of three users, one with a profile, and a group."""
    emulator: Emulator = reference.emulator
    emulator.settings(variant="page")  # there $identify merges in every project
    events = [
        event(1),
        event(2, "Order Placed", amount=12, cart={"items": [{"sku": "A-1"}]}),
        event(3, EVIL, note=EVIL),
    ]
    assert reference.send(events).status_code == 200
    token = emulator.project_token
    update = {
        "$token": token, "$distinct_id": "user-2",
        "$set": {"$name": "Jane"}, "$add": {"orders": 2},
    }  # fmt: skip
    assert reference.post("/engage", json=[update], data=None).status_code == 200
    link = {
        "event": "$identify",
        "properties": {"token": token, "distinct_id": "user-2", "$anon_id": "device-9"},
    }
    reference.post("/track", json=[link], data=None)
    group = {"$token": token, "$group_key": "company", "$group_id": "acme", "$set": {"seats": 7}}
    reference.post("/groups", json=[group], data=None)
    tab.goto(emulator.url + "/")
    expect(tab.locator("tbody tr").first).to_be_visible()
    return emulator
