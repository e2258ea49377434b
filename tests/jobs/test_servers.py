"""Beam's servers: connected to once they answer, waited for at the end."""

import logging
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.utils import subprocess_server

from mixpanel_sink.jobs import servers

LATE = """
import signal, socket, sys, time
time.sleep(0.3)
server = socket.create_server(("localhost", int(sys.argv[1])))
signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.2), sys.exit(7)))
while True:
    server.accept()[0].close()
"""


@pytest.fixture
def cache() -> Iterator[Any]:
    """Beam's servers, which start and end as the launchers have it."""
    known: Any = subprocess_server.SubprocessServer
    before = known._cache._constructor, known._cache._destructor
    servers.wait_less()
    servers.wait_less()  # a second pipeline in this process
    yield known._cache
    known._cache._constructor, known._cache._destructor = before


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def test_a_server_answers_when_it_is_handed_out_and_has_ended_when_it_is_given_back(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    owner = cache.register()
    command = (sys.executable, "-c", LATE, str(port))
    process, endpoint = cache.get(command, port, logging.getLogger("server"), owner=owner)
    assert endpoint == f"localhost:{port}"
    socket.create_connection(("localhost", port)).close()
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    cache.purge(owner)
    assert process.poll() == 7
    assert 1 not in slept, "Beam's second"


def test_a_server_that_fails_at_once_is_not_waited_for(cache: Any) -> None:
    port, owner = free_port(), cache.register()
    command = (sys.executable, "-c", "import sys; sys.exit(3)")
    process, _ = cache.get(command, port, logging.getLogger("server"), owner=owner)
    assert process.poll() == 3
    cache.purge(owner)
