"""kill -9 at random moments, then the same command again."""

from __future__ import annotations

import pytest

from tests.jobs.kills import kill_once, kill_updates_once


@pytest.mark.parametrize(("seed", "checkpoint"), [(12, False), (3, True), (5, True)])
def test_after_a_kill_the_same_command_ends_the_import(seed: int, checkpoint: bool) -> None:
    print(kill_once(seed, checkpoint))


def test_updates_that_add_are_never_applied_twice() -> None:
    print(kill_updates_once(6))
