"""Calls `mixpanel-sink` in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from mixpanel_sink.cli import main


@dataclasses.dataclass
class Done:
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> Done:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Done(code, out, err)

    return run
