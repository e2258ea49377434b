"""An emulator for clients that nobody here wrote, under either document."""

from collections.abc import Callable, Iterator

import pytest

from mixpanel_sink.emulator.testing import Emulator

PROJECT = 42
ROBOT = ("robot", "robot-secret")


@pytest.fixture(scope="session")
def _emulators() -> Iterator[Callable[[str], Emulator]]:
    running: dict[str, Emulator] = {}

    def get(variant: str) -> Emulator:
        if variant not in running:
            running[variant] = Emulator(
                variant=variant, project_id=PROJECT, service_account=ROBOT, tls=True
            )
            running[variant].start()
        return running[variant]

    yield get
    for emulator in running.values():
        emulator.stop()


@pytest.fixture(params=["page", "reference"])
def emulator(request: pytest.FixtureRequest, _emulators: Callable[[str], Emulator]) -> Emulator:
    """An empty emulator that speaks TLS: these clients send secrets over nothing else."""
    running = _emulators(request.param)
    running.reset(variant=request.param, identity_mode="original")
    return running
