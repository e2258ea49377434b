"""The page over all runs: what it says, and that everyone can read it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from mixpanel_sink.report.checkpoint_page import checkpoint_page

NOW = 1_714_600_000.0


def run(day: int, **more: Any) -> dict[str, Any]:
    return {
        "run": f"abc{day:09}", "kind": "import", "started": f"2024-05-{day:02}T03:00:00Z",
        "ended": f"2024-05-{day:02}T03:01:05Z", "files": 3, "incomplete_files": 0,
        "incomplete": [], "read": 1000 * day, "failed": 0, **more,
    }  # fmt: skip


def status(runs: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    days = [
        {"day": f"2024-05-{day:02}", "files": 3, "size": 10, "read": 1000 * day, "failed": day - 1}
        for day in (1, 2)
    ]
    return {
        "checkpoint": "/data/check points", "files": 6, "bytes": 2_500_000, "read": 3000,
        "failed": 1, "days": days, "runs": [run(1), run(2, failed=1)] if runs is None else runs,
        "unended": None, "held_by": None, "watermarks": {}, "not_replayed": [],
        "imported_before": 0, **more,
    }  # fmt: skip


def page(given: dict[str, Any], **watermarks: str) -> str:
    return checkpoint_page(given, NOW, watermarks)


def text(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S).split())


def test_runs_and_days_have_what_was_accepted_and_failed_the_last_first() -> None:
    shown = text(page(status()))
    assert "Every file is complete, and no failed record is waiting to be replayed." in shown
    assert "No run is using it. The last one ended at 2024-05-02 03:01:05 UTC." in shown
    second = "2024-05-02 03:00:00 import abc000000002, took 1 min 5 s 3 2,000 1,999 1"
    first = "2024-05-01 03:00:00 import abc000000001, took 1 min 5 s 3 1,000 1,000 0"
    assert shown.index(second) < shown.index(first)
    assert "2024-05-02 3 2,000 1,999 1 2024-05-01 3 1,000 1,000 0" in shown
    assert "2,999 accepted in 1 d since 2024-05-01 03:00:00 UTC, by 2 runs." in shown


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    """Of runs of earlier versions, too, which entered the end as the clock had it."""
    back = run(2, ended="2024-05-02T02:00:00Z")
    for runs in ([run(1), back], [back]):
        shown = text(page(status(runs)))
        assert "2024-05-02 03:00:00 import abc000000002 3 2,000 2,000 0" in shown
        assert not re.search(r"-\d+(\.\d+)? (s|min|h|d)\b", shown), shown


def test_what_was_imported_before_is_told() -> None:
    assert "by --since" not in text(page(status()))
    assert "of them imported earlier, by --since 900" in text(page(status(imported_before=900)))


def test_it_says_what_is_left_to_do() -> None:
    left = {"run": "abc", "failed": 2, "files": ["/f/a b.jsonl"], "are_gone": False}
    gone = {"run": "xyz", "failed": 1, "files": [], "are_gone": True}
    last = run(3, incomplete_files=3, incomplete=["<one>.parquet", "two.parquet"])
    html = page(status([run(1), last], not_replayed=[left, gone]), orders="2024-05-01")
    assert "&lt;one&gt;.parquet" in html
    shown = text(html)
    assert "3 files not complete; 3 failed records not replayed." in shown
    assert "Run xyz, 1 record Their files no longer exist." in shown
    assert "and 1 more" in shown
    assert "orders 2024-05-01" in shown
    assert "mixpanel-sink import ... --checkpoint &#39;/data/check points&#39;" in shown
    assert "mixpanel-sink replay &#39;/f/a b.jsonl&#39; --mapping MAPPING" in shown


def test_a_run_under_way_and_one_that_died() -> None:
    held = {
        "who": "me@here", "process": 7, "since": "2024-05-03T03:00:00Z",
        "renewed": "2024-05-03T03:00:20Z", "has_died": False,
    }  # fmt: skip
    under_way = status(unended=run(3, ended=None), held_by=held)
    assert "A run is in progress. In use by me@here (process 7)" in text(page(under_way))
    died = status(unended=run(3, ended=None))
    assert "The last run did not finish." in text(page(died))
    first = status([], days=[], unended=run(1, ended=None), held_by={**held, "has_died": True})
    assert "it has died" in text(page(first))
    assert "Nothing yet." in text(page(first))


def test_of_many_runs_the_last_are_shown() -> None:
    shown = text(page(status([run(1, run=f"number{n}-") for n in range(250)])))
    assert "250 runs, of which the last 100 are shown" in shown
    assert "number249-" in shown
    assert "number149-" not in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_no_barriers_and_fits_a_phone(scheme: str, browser: Browser) -> None:
    """axe-core finds nothing at either width, nothing is wider than 390 px, nothing is fetched."""
    left = {"run": "abc", "failed": 2, "files": ["gs://" + "y" * 200], "are_gone": False}
    big = run(3, read=123_456_789_012, failed=99_999_999, files=1_234_567)
    full = status(
        [run(1), {**big, "incomplete_files": 1, "incomplete": ["f" * 150]}],
        not_replayed=[left],
        checkpoint="gs://" + "c" * 120,
    )
    html = page(full, **{"t" * 100: "2024-05-01"})
    assert "https://" not in html
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    tab.set_content(html)
    for width in (1440, 390):
        tab.set_viewport_size({"width": width, "height": 844})
        found = Axe().run(tab).response["violations"]
        assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
        assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.get_by_text("123,356,789,013").first.is_visible()
    tab.close()
