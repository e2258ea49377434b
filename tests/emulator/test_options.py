"""The table of options: the command line and the settings follow it."""

import re

import pytest

from mixpanel_sink.emulator import build
from mixpanel_sink.emulator.options import DEFAULTS, OPTIONS
from mixpanel_sink.emulator.settings import Settings
from tests.emulator.test_cli import _run


def test_the_command_line_has_every_option() -> None:
    shown = re.findall(r"--[a-z-]+", _run("emulator", "--help").stdout)
    wanted = {option.flag for option in OPTIONS if not option.hidden}
    negated = {f"--no-{option.flag[2:]}" for option in OPTIONS if option.type is bool}
    assert set(shown) - {"--help"} == wanted | {flag for flag in negated if flag in shown}
    assert len(wanted) == len(OPTIONS) - 1


def test_defaults_are_those_of_the_settings() -> None:
    settings = Settings()
    same = [name for name in DEFAULTS if hasattr(settings, name) and name != "projects"]
    assert len(same) > 10
    launched = build.launch({"api_secret": "s"}).settings
    assert [(n, getattr(launched, n)) for n in same] == [(n, getattr(settings, n)) for n in same]


@pytest.mark.parametrize(("name", "value"), [("max_batch", 7), ("region", "eu"), ("latency_ms", 2)])
def test_an_option_reaches_the_settings(name: str, value: object) -> None:
    launched = build.launch({"project_token": "t", name: value})
    assert getattr(launched.settings, name) == value
