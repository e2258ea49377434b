"""`mixpanel-sink demo`: 100,000 made-up events into the emulator."""

from __future__ import annotations

from mixpanel_sink.cli import common


def run() -> None:
    """Show an import on made-up data, into a local Mixpanel emulator.

    Example: mixpanel-sink demo
    """
    try:
        from mixpanel_sink.emulator.testing import EmulatorError
        from mixpanel_sink.jobs import demo
    except ImportError as error:
        common.fail(f"The demo needs {error.name}: pip install 'mixpanel-sink[emulator]'.")
    try:
        common.finish(demo.main())
    except EmulatorError as error:
        common.fail(f"{error}.")
