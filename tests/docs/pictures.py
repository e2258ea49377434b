"""Makes the pictures of the documents: python -m tests.docs.pictures.

A real import into a real emulator, looked at in a real browser; what a terminal shows is recorded
by rich. The pictures are committed, so that a reader needs none of that.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pyarrow.parquet as pq
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.demo import MAPPING, shop_events
from tests.docs.test_doc_blocks import ROOT

IMAGES = ROOT / "docs/images"
_QUIET = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
_STILL = "*, *::before, *::after { animation: none !important; transition: none !important }"


def main() -> None:
    """Makes all of them."""
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(quota="60/hour", api_secret="demo") as mixpanel,
        sync_playwright() as playwright,
    ):
        place = pathlib.Path(folder)
        session(mixpanel, place)
        report = place / "run.html"
        report.write_text(report.read_text().replace(str(place), "/home/ada"))
        browser = playwright.chromium.launch(executable_path=chromium, args=_QUIET)
        for scheme in ("light", "dark"):
            look(browser, mixpanel.url, scheme, IMAGES / f"emulator-{scheme}.png")
        look(browser, report.as_uri(), "light", IMAGES / "run.png", 1600)
        browser.close()


def session(mixpanel: Emulator, place: pathlib.Path) -> None:
    """The commands of an import, as a terminal of 100 columns shows them."""
    pq.write_table(shop_events(), place / "shop.parquet")
    (place / "shop.yaml").write_text(MAPPING)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MIXPANEL_API_SECRET": "demo",
        "FORCE_COLOR": "1",
        "COLUMNS": "100",
    }
    console = Console(record=True, width=100, file=open(os.devnull, "w"))  # noqa: SIM115
    for arguments in (
        ("import", "shop.parquet", "--mapping", "shop.yaml", "--report", "run.html"),
        ("verify", "shop.parquet", "--mapping", "shop.yaml"),
    ):
        console.print(Text(f"$ mixpanel-sink {' '.join(arguments)}", style="bold green"))
        done = subprocess.run(
            [sys.executable, "-m", "mixpanel_sink.cli", *arguments, "--endpoint", mixpanel.url],
            cwd=place, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        shown = done.stdout.replace(str(place), "/home/ada").rstrip()
        if arguments[0] == "verify":
            shown = shown.partition("\n\nFailures")[0]
        console.print(Text.from_ansi(shown), "", sep="\n")
    svg = console.export_svg(title="mixpanel-sink")
    (IMAGES / "session.svg").write_text(svg)


def look(
    browser: Browser, address: str, scheme: str, image: pathlib.Path, height: int = 900
) -> None:
    """A page in a window of 1440 pixels."""
    tab = browser.new_page(viewport={"width": 1440, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    tab.goto(address)
    tab.wait_for_timeout(2500)  # the page asks for its figures once a second
    tab.add_style_tag(content=_STILL)
    tab.screenshot(path=image)
    tab.close()


if __name__ == "__main__":
    main()
