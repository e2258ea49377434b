"""The site is built without a broken link, and has every page."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import mixpanel_sink

ROOT = pathlib.Path(__file__).parents[2]


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs/api.md").read_text()
    listed = re.findall(r"^::: mixpanel_sink\.([\w.]+)\.(\w+)$", text, re.MULTILINE)
    assert {name: home for home, name in listed} == mixpanel_sink._HOME


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_every_page_is_there(site: pathlib.Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        made = page.relative_to(ROOT / "docs").with_suffix(".html")
        made = made.with_name("index.html") if made.name == "README.html" else made
        assert (site / made).exists(), made
    for page in ("ARCHITECTURE.html", "CHANGELOG.html", "benchmarks/RESULTS.html"):
        assert (site / page).exists(), page
    reference = (site / "api.html").read_text()
    for name in mixpanel_sink.__all__:
        assert re.search(rf'id="mixpanel_sink\.[\w.]+\.{name}"', reference), name


def test_links_within_the_site_lead_somewhere(site: pathlib.Path) -> None:
    pages = sorted(site.rglob("*.html"))
    links = 0
    for page in pages:
        for link in re.findall(r'(?:href|src)="([^"#?]+)[^"]*"', page.read_text()):
            if "://" in link or link.startswith(("data:", "mailto:", "/")):
                continue
            links += 1
            assert (page.parent / link).exists(), f"{page.relative_to(site)}: {link}"
    assert len(pages) > 40
    assert links > 1000
