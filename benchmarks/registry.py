"""Every contestant: its name, its title, how it is started, and from how many events on it
is left out.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import data, install, paths
from benchmarks.contestants import sink_prism
from benchmarks.install import NotInstalled


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One row of the table.

    Attributes:
        name: on the command line.
        title: in the table.
        start: makes the command from the Parquet file, without the endpoint. It may
            prepare things first, untimed, and raise NotInstalled.
        most_events: above it is left out unless asked for, for `reason`.
        reason: why.
    """

    name: str
    title: str
    start: Callable[[Path], list[str]]
    most_events: int | None = None
    reason: str = ""

    def command(self, parquet: Path, endpoint: str) -> list[str]:
        """What to run."""
        return [*self.start(parquet), "--endpoint", endpoint]


def module(name: str) -> Callable[[Path], list[str]]:
    """A `Contestant.start` for a module of benchmarks.contestants."""

    def start(parquet: Path) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.contestants.{name}", "--input", str(parquet)]

    return start


def _prism(parquet: Path) -> list[str]:
    if sink_prism.find() is None:
        raise NotInstalled("there is no prism binary; PRISM=/path/to/prism names one")
    return module("sink_prism")(parquet)


def _utils(parquet: Path) -> list[str]:
    python = str(install.utils_python())
    return [python, *module("mixpanel_utils")(parquet)[1:]]


def _npm(parquet: Path) -> list[str]:
    package = install.npm_importer()
    script = paths.REPOSITORY / "benchmarks" / "contestants" / "mixpanel_import.cjs"
    # It has the whole file in memory, and Node's own limit is a few GB.
    command = ["node", "--max-old-space-size=16000", str(script), str(package)]
    return [*command, "--input", str(data.snappy_file(parquet))]


def _npm_ndjson(parquet: Path) -> list[str]:
    return [*_npm(parquet)[:-1], str(data.ndjson_file(parquet))]


ALL = (
    Contestant("sink", "the sink, columnar", module("sink")),
    Contestant("sink_map_records", "the sink, a function a dict", module("sink_map_records")),
    Contestant("sink_dicts", "the sink, dicts of ReadFromParquet", module("sink_dicts")),
    Contestant(
        "sink_two_processes", "the sink, two worker processes", module("sink_two_processes")
    ),
    Contestant("sink_prism", "the sink on Prism", _prism),
    Contestant(
        "naive",
        "naive Beam pipeline",
        module("naive"),
        most_events=1_000_000,
        reason="needs 16 GB at 4M; --include naive runs it",
    ),
    Contestant("best_loop", "best loop without Beam", module("best_loop")),
    Contestant("plain_loop", "plain good loop without Beam", module("plain_loop")),
    Contestant(
        "mixpanel_import",
        "npm mixpanel-import, Parquet",
        _npm,
        most_events=1_000_000,
        reason="a minute; --include mixpanel_import runs it",
    ),
    Contestant(
        "mixpanel_import_ndjson",
        "npm mixpanel-import, finished NDJSON",
        _npm_ndjson,
        most_events=500_000,
        reason="slow; --include mixpanel_import_ndjson runs it",
    ),
    Contestant(
        "mixpanel_utils",
        "PyPI mixpanel-utils",
        _utils,
        most_events=1_000_000,
        reason="minutes, and all events in memory; --include mixpanel_utils runs it",
    ),
)
"""In the order of the table."""

BY_NAME = {contestant.name: contestant for contestant in ALL}
