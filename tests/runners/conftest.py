"""Each test of this folder runs on every runner of `matrix.RUNNERS`."""

from __future__ import annotations

import pathlib

import pytest

from tests.jobs.conftest import _server, send, server  # noqa: F401  (fixtures)
from tests.prism import prism_or_skip
from tests.runners.matrix import RUNNERS, Runner


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Runner:
    if request.param in ("prism", "switching"):
        prism_or_skip()
    folder = tmp_path / "outputs"
    folder.mkdir()
    return Runner(request.param, folder)
