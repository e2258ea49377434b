"""The next command that a run suggests: complete, quoted, and without secrets."""

from __future__ import annotations

import dataclasses
import shlex

from mixpanel_sink.jobs.following import after_sending, following
from mixpanel_sink.settings.options import Settings

HOOK = "https://hooks.example.com/services/T/B/secret"
SETTINGS = dataclasses.replace(
    Settings(),
    input=("O'Brien/*.csv", "a b.csv", "-x.csv"),
    mapping="my map.yaml",
    events=("Signup", "Order placed"),
    notify=HOOK,
    failed_output="failed/x",
)


def test_a_shell_takes_it() -> None:
    said = shlex.split(following("verify", SETTINGS, SETTINGS.mapping))
    assert said[:7] == [
        "mixpanel-sink", "verify", "O'Brien/*.csv", "a b.csv", "./-x.csv",
        "--mapping", "my map.yaml",
    ]  # fmt: skip
    assert said[7:] == ["--events", "Signup,Order placed"]


def test_a_replay_is_entered_into_the_imports_checkpoint() -> None:
    """Unless it remembers profiles, which only a whole import compares."""
    for only_changed in (False, True):
        settings = dataclasses.replace(SETTINGS, checkpoint="a b", only_changed=only_changed)
        ((_, again),) = after_sending(settings, failed=True, verify=False)
        assert ("--checkpoint 'a b'" in again) is not only_changed


def test_it_does_not_pass_on_a_webhook() -> None:
    """Commands are printed into logs, and stand in the report, which goes around."""
    steps = after_sending(SETTINGS, failed=True, verify=True)
    assert len(steps) == 2
    faces = ("import", "replay", "verify", "check")
    commands = [command for _, command in steps]
    commands += [following(face, SETTINGS, SETTINGS.mapping) for face in faces]
    assert not any(HOOK in command for command in commands)
