"""`mixpanel-sink demo`: 100,000 made-up events into the emulator."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mixpanel_sink import interrupts
from mixpanel_sink.cli import common


def run(
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--no-keep",
            help="Keep the emulator running until Ctrl-C, to look at its page. Default: yes on a "
            "terminal.",
        ),
    ] = None,
) -> None:
    """Import made-up events into a local Mixpanel emulator.

    Its files are in the folder demo-output.

    Example: mixpanel-sink demo
    """
    try:
        from mixpanel_sink.emulator.testing import EmulatorError
        from mixpanel_sink.jobs import demo
    except ImportError as error:
        common.fail(f"The demo needs {error.name}: pip install 'mixpanel-sink[emulator]'.")
    try:
        with interrupts.raised() as terminated:
            code = demo.main(keep=sys.stdout.isatty() if keep is None else keep)
        common.next_step("mixpanel-sink init FILE, with a file of yours")
    except KeyboardInterrupt:  # perhaps while the import, a process of its own, was sending
        print("\nInterrupted. Run the same command again: it starts over.", file=sys.stderr)
        ended = terminated.is_set()
        code = interrupts.EXIT_TERMINATED if ended else interrupts.EXIT_INTERRUPTED
    except EmulatorError as error:
        common.fail(f"{error}.")
    common.finish(code)
