"""Tables in Markdown, and their place in the results file."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine

_TITLE = """\
# Results

Written by `python -m benchmarks` and its siblings; see `make bench`. Rates are events a
second from the start of the process to its end, so that start-up counts. CPU and memory
are those of the process and all its descendants; the server's CPU is apart.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    return "\n".join([*lines, *map(_line, rows)])


def context() -> str:
    """Date, machine, revision and command, as a list."""
    module = Path(sys.argv[0]).stem
    name = "benchmarks" if module == "__main__" else f"benchmarks.{module}"
    command = shlex.join(["python", "-m", name, *sys.argv[1:]])
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        f"- Date: {now:%Y-%m-%d %H:%M} UTC, revision {machine.revision()}\n"
        f"- Machine: {machine.describe()}\n"
        f"- Command: `{command}`"
    )


def put(path: Path, section: str, text: str) -> None:
    """Writes or replaces one section of a results file; the others stay."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    old = path.read_text() if path.exists() else _TITLE
    block = f"{begin}\n{text.strip()}\n{end}\n"
    before, found, rest = old.partition(begin)
    if found:
        after = rest.partition(end)[2].strip()
        new = before + block + (f"\n{after}\n" if after else "")
    else:
        new = f"{old.rstrip()}\n\n{block}"
    path.write_text(new)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
