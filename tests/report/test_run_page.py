"""run.html in numbers: the chart's scale, what is summed up, and how sizes and times are said."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from mixpanel_sink.report.chart import Chart, over_time
from mixpanel_sink.report.page_parts import span
from mixpanel_sink.settings.quota import Quota
from tests.report.test_run_report import report

HOUR = 3600


def chart(points: list[tuple[float, int]], seconds: float, quota: str = "60/hour") -> Chart:
    made = over_time(points, seconds, Quota.parse(quota), 2000)
    assert made is not None
    return made


def texts(ticks: object) -> list[str]:
    return [tick.text for tick in ticks]  # type: ignore[attr-defined]


def test_a_short_run_has_a_scale_of_seconds() -> None:
    made = chart([(second, 14_000) for second in range(1, 8)], 7.2)
    assert texts(made.x) == [f"{second} s" for second in range(8)]
    assert texts(made.y) == ["0", "50k", "100k", "150k"]
    assert made.line.startswith("M0.0 100.00 L138.9 90.67")
    assert made.line.endswith("L1000.0 34.67")
    assert made.limit == "M0 20.00 L1000 20.00"
    assert made.said == (
        "98,000 accepted in 7.2 s; the quota of 60/hour allows 120,000 events in any hour."
    )


def test_a_long_run_follows_the_steps_of_the_quota() -> None:
    made = chart([(hour * HOUR + 5, 120_000) for hour in range(5)], 4 * HOUR + 5)
    assert texts(made.x) == ["0 s", "1 h", "2 h", "3 h", "4 h"]
    assert made.limit.count("L") == 2 * 4 + 1
    assert made.limit.endswith("L1000 0.00")
    assert [tick.kind for tick in made.x] == ["first", "minor", "", "minor", "last"]


def test_a_limit_far_above_is_said_and_not_drawn() -> None:
    made = chart([(0.5, 100)], 0.6)
    assert made.limit == ""
    assert texts(made.y) == ["0", "50", "100"]
    assert "allows 120,000 events in any hour" in made.said
    assert "no quota held" in chart([(1.0, 5)], 2.0, "none").said
    assert over_time([], 5.0, Quota.none(), 2000) is None


@pytest.mark.parametrize("seconds", [0.01, 1, 45, 61, 3000, 90_000, 40 * 86_400])
@pytest.mark.parametrize("count", [1, 3, 999, 2000, 7_654_321])
def test_any_scale_has_a_few_labels_and_holds_the_line(seconds: float, count: int) -> None:
    made = chart([(seconds / 2, count)], seconds)
    assert 2 <= len(made.x) <= 10
    assert 2 <= len(made.y) <= 10
    numbers = [float(each) for each in re.findall(r"[\d.]+", made.line + made.limit)]
    assert all(0 <= x <= 1000 for x in numbers[::2])
    assert all(0 <= y <= 100 for y in numbers[1::2])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (7.24, "7.2 s"), (65, "1 min 5 s"), (3600, "1 h"), (200_000, "2 d 7 h")],
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_clock_that_is_set_back_makes_no_negative_time() -> None:
    assert span(-3600) == "0 s"


def test_events_are_listed_by_name_and_day_or_month() -> None:
    few = {("Visit", "2024-05-01"): 5, ("Visit", "2024-05-03"): 1, ("<Buy>", "2024-05-01"): 2}
    page = report(accepted=few).to_html()
    assert re.search(r"<td>Visit</td><td class=\"n\">6</td>", page)
    assert "&lt;Buy&gt;" in page
    assert "By day of the event" in page
    many = {(f"E{n}", f"20{20 + n % 3}-0{n % 9 + 1}-1{n % 10}"): n + 1 for n in range(90)}
    page = report(accepted=many).to_html()
    assert "By month of the event" in page
    assert "70 other names" in page
    assert "Accepted by name and day" not in report().to_html()


def test_it_says_what_to_do_next_and_which_settings_are_ours() -> None:
    step = ("Send them again.", "mixpanel-sink replay 'f*.jsonl'")
    page = report(next_steps=[step], failed_output="f", files=[("a.parquet", 2_500_000)]).to_html()
    assert "Send them again." in page
    assert "<code>mixpanel-sink replay &#39;f*.jsonl&#39;</code>" in page
    assert "<code>f*.jsonl</code>" in page
    assert '<td>a.parquet</td><td class="n">2.5 MB</td>' in page
    assert "MXS521 <code>" in page
    assert "https://" not in page  # it goes around: nothing in it leads elsewhere
    assert "<code>--quota</code>" in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_no_barriers_and_fits_a_phone(scheme: str, browser: Browser) -> None:
    """axe-core finds nothing, and nothing is wider than 390 px; on paper it has no dark ground."""
    long = {"reason": "refused", "count": 2, "message": "x" * 300, "file": f"gs://{'y' * 200}"}
    page = report(
        failures=[long],
        next_steps=[("Do this.", "mixpanel-sink replay " + "z" * 200)],
        accepted={("A" * 120, "2024-05-01"): 6000},
        files=[("f" * 150, 1)],
    ).to_html()
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    tab.set_content(page)
    found = Axe().run(tab).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.emulate_media(media="print", color_scheme=scheme)  # type: ignore[arg-type]
    back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == "rgb(255, 255, 255)"
    tab.close()
