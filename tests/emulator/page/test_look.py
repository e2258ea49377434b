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


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_phone_needs_no_scrolling_sideways(
    tab: Page, filled: Emulator, reference: Any, address: str
) -> None:
    long = "A name that somebody made of a whole sentence, and never looked at again " * 3
    reference.send([event(5, long, distinct_id="u" * 200, note="x" * 250)])
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(f"{filled.url}/emulator/#/{address}")
    tab.wait_for_timeout(300)
    wide = """() => [document.documentElement, document.querySelector('main'),
        ...document.querySelectorAll('.card.table')]
        .filter((e) => e.scrollWidth > e.clientWidth + 1)
        .map((e) => `${e.tagName} ${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""
    assert tab.evaluate(wide) == []


def test_nothing_comes_from_elsewhere(tab: Page, filled: Emulator) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.reload()
    expect(tab.locator("tbody tr").first).to_be_visible()
    assert asked
    assert all(url.startswith((filled.url, "data:")) for url in asked)
    assert any(url.endswith("/favicon.svg") for url in asked)
    expect(tab.locator("#version")).not_to_be_empty()
