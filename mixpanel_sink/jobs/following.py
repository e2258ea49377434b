"""The command to run after this one. No Beam here."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

from mixpanel_sink.settings.options import Settings, options_of

CREDENTIALS_FROM_ENVIRONMENT = {
    "api_secret": "MIXPANEL_API_SECRET",
    "project_token": "MIXPANEL_PROJECT_TOKEN",
}
"""Used where no credentials are given, the first that is set."""
CREDENTIALS_BY_DEFAULT = {(k, f"env:{v}") for k, v in CREDENTIALS_FROM_ENVIRONMENT.items()}
"""What those amount to, as options."""


def following(face: str, settings: Settings, mapping: object) -> str:
    """A command to run after this one, with the same input, as a shell takes it.

    Args:
        face: the following command.
        settings: of this one; those that the following one has as well are repeated.
        mapping: its file; None for none.
    """
    # A webhook's URL lets its readers post there, and this goes into logs and reports.
    has = {each.name for each in options_of(face)} - {"input", "mapping", "notify"}
    words = [f"mixpanel-sink {face}"]
    for word in settings.input:
        name = f"./{word}" if word.startswith("-") else word  # or it would be an option
        words.append("'" + name.replace("'", "'\\''") + "'")
    words += [f"--mapping {shlex.quote(str(mapping))}"] if mapping else []
    for name, value in settings.given().items():
        if name not in has or (name, value) in CREDENTIALS_BY_DEFAULT:
            continue
        option = f"--{name.replace('_', '-')}"
        words.append(option if value is True else f"{option} {shlex.quote(str(value))}")
    return " ".join(words)


def after_sending(
    settings: Settings, failed: bool, verify: bool, files: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """What to do after records were sent: sentences, each with a command.

    Args:
        settings: of the job.
        failed: whether there are failed records.
        verify: whether the input can be compared with what Mixpanel holds.
        files: of failed records; all with the prefix of the settings if none are given.
    """
    steps = []
    prefix = settings.failed_output
    if failed and prefix:
        kept = dataclasses.replace(
            settings,
            input=tuple(files) or (f"{prefix}*.jsonl",),
            failed_output=None,
            report=None,
            # So that `status` knows of the replay; a log of profiles is only for whole imports.
            checkpoint=None if settings.only_changed else settings.checkpoint,
        )
        again = following("replay", kept, settings.mapping)
        steps.append(("Fix what the failures name, then send those records again.", again))
    if verify:
        proof = following("verify", settings, settings.mapping)
        steps.append(("Compare what Mixpanel holds with the input.", proof))
    return steps
