"""How the page looks: light and dark, on a phone, without barriers, from nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from mixpanel_sink.emulator.testing import Emulator
from tests.emulator.page.conftest import event

ADDRESSES = [
    *("events?open=2", "events?search=visit", "users?open=user-2", "groups", "requests"),
    *("requests?open=1&tab=body", "tables", "exports", "faults"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(tab: Page, filled: Emulator, scheme: Any) -> None:
    tab.emulate_media(color_scheme=scheme)
    backs = {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 20, 24)"}
    body = expect(tab.locator("body"))
    body.to_have_css("background-color", backs[scheme])
    tab.get_by_role("button", name="Light or dark").click()
    other = {"light": "dark", "dark": "light"}[scheme]
    body.to_have_css("background-color", backs[other])
    tab.reload()
    body.to_have_css("background-color", backs[other])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_barriers(tab: Page, filled: Emulator, address: str, scheme: Any) -> None:
    """axe-core finds nothing: names, roles, contrast, headings."""
    tab.emulate_media(color_scheme=scheme)
    tab.goto(f"{filled.url}/emulator/#/{address}")
    tab.wait_for_timeout(400)
    # Its script is injected by the test and not by the page, which would not run it.
    found = Axe().run(tab).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []


WIDE = """() => [document.documentElement, document.querySelector('main'),
    ...document.querySelectorAll('.card.table')]
    .filter((e) => e.scrollWidth > e.clientWidth + 1)
    .map((e) => `${e.tagName} ${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""
"""What has to be scrolled sideways."""


def _send_long_texts(reference: Any) -> None:
    long = "A name that somebody made of a whole sentence, and never looked at again " * 3
    reference.send([event(5, long, distinct_id="u" * 200, note="x" * 250)])
    token = reference.emulator.project_token
    update = {"$token": token, "$distinct_id": "v" * 200, "$set": {"$name": long, "$email": long}}
    reference.post("/engage", json=[update], data=None)
    reference.send([event(6)], auth=("a wrong one", ""))


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_phone_needs_no_scrolling_sideways(
    tab: Page, filled: Emulator, reference: Any, address: str
) -> None:
    _send_long_texts(reference)
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(f"{filled.url}/emulator/#/{address}")
    tab.wait_for_timeout(300)
    assert tab.evaluate(WIDE) == []


def test_tables_fit_beside_what_is_open(tab: Page, filled: Emulator, reference: Any) -> None:
    _send_long_texts(reference)
    for address in ("requests?open=1", "events?open=2", "users?open=user-2", "requests?open="):
        tab.goto(f"{filled.url}/emulator/#/{address}")
        expect(tab.locator("main tbody tr").first).to_be_visible()
        expect(tab.locator("#detail")).to_be_visible(visible=not address.endswith("="))
        for width in (1440, 1200, 1000):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate(WIDE) == [], (address, width)


def test_a_text_from_right_to_left_does_not_turn_its_neighbours(
    tab: Page, filled: Emulator, reference: Any
) -> None:
    reference.send([event(7, "Turned", first="\u202eabc", second="unturned")])
    shown = tab.locator("main tbody tr").filter(has_text="Turned").locator(".summary > span")
    expect(shown).to_have_count(2)
    places = shown.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect())")
    assert places[0]["right"] <= places[1]["left"]


def test_nothing_comes_from_elsewhere(tab: Page, filled: Emulator) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.reload()
    expect(tab.locator("tbody tr").first).to_be_visible()
    assert asked
    assert all(url.startswith((filled.url, "data:")) for url in asked)
    assert any(url.endswith("/favicon.svg") for url in asked)
    expect(tab.locator("#version")).not_to_be_empty()
