"""What every job shares as a program: logging, and what is wrong in one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from mixpanel_sink import interrupts
from mixpanel_sink.errors import DestinationError, InputError, OutputError, SettingError
from mixpanel_sink.interrupts import EXIT_INTERRUPTED
from mixpanel_sink.jobs import launches
from mixpanel_sink.jobs.console import say_error
from mixpanel_sink.jobs.outcome import EXIT_FAILED, EXIT_SETTING
from mixpanel_sink.send.tally import tally
from mixpanel_sink.settings.options import OPTIONS, Settings


def arguments(argv: Sequence[str] | None) -> list[str]:
    """The command line, without the program's name; by default this process's."""
    return sys.argv[1:] if argv is None else list(argv)


def guarded(start: Callable[[], int]) -> int:
    """Starts a job, and returns its exit code; 2 with one sentence for a mistake that shows before
    anything is sent, 1 for a file that cannot be written, 130 for Ctrl-C, and 143 for SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    launches.forget()
    with interrupts.raised() as terminated:
        try:
            code = start()
        except (SettingError, InputError, DestinationError, OutputError) as error:
            say_error(str(error), type(error).__name__)
            code = EXIT_FAILED if isinstance(error, OutputError) else EXIT_SETTING
        except KeyboardInterrupt:
            code = interrupted()
    ended = terminated.is_set() and code == EXIT_INTERRUPTED
    return interrupts.EXIT_TERMINATED if ended else code


def interrupted() -> int:
    """Says what Ctrl-C has ended outside of a run, which says more by itself; the exit code."""
    if job := launches.standing():
        said = f"Interrupted. {job}"
    elif tally().counts().get("requests"):
        said = "Interrupted. Run the same command again."
    else:
        said = interrupts.NOTHING_SENT
    print(f"\n{said}", file=sys.stderr)
    return EXIT_INTERRUPTED


def require(settings: Settings, *names: str) -> None:
    """Refuses a command without one of these options, named by their fields.

    Raises:
        SettingError: names it.
    """
    for name in names:
        if not getattr(settings, name):
            shown = next((each.spelled for each in OPTIONS if each.field == name), name)
            raise SettingError(f"--{shown} is missing; --help shows all options.")
