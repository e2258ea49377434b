"""Google's Pub/Sub on this machine: PUBSUB_EMULATOR_HOST's, or that of its Go client library."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from google.cloud import pubsub

PROJECT = "projects/test-project"


class Topic(NamedTuple):
    """A topic of its own, and its subscription."""

    name: str
    subscription: str

    def publish(self, *messages: bytes, **attributes: str) -> list[str]:
        """Publishes, and gives the messages' ids."""
        client = pubsub.PublisherClient()
        return [client.publish(self.name, each, **attributes).result(30) for each in messages]

    def pull(self, most: int = 100) -> list[bytes]:
        """Messages that are there or come within seconds."""
        with pubsub.SubscriberClient() as client:
            answer = client.pull(subscription=self.subscription, max_messages=most, timeout=30)
            return [each.message.data for each in answer.received_messages]


@pytest.fixture(scope="session")
def _pubsub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("PUBSUB_EMULATOR_HOST"):
        yield given
        return
    go = shutil.which("go")
    if go is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Go is not installed")
    program = tmp_path_factory.mktemp("pubsub") / "pubsub"
    place = pathlib.Path(__file__).parent / "pubsub"
    subprocess.run([go, "build", "-o", program, "."], cwd=place, check=True)
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.stdin is not None
        process.stdin.close()  # which ends it


@pytest.fixture
def topics(_pubsub: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes topics."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", _pubsub)

    def make() -> Topic:
        name = f"t-{uuid.uuid4().hex}"
        topic = Topic(f"{PROJECT}/topics/{name}", f"{PROJECT}/subscriptions/{name}")
        pubsub.PublisherClient().create_topic(name=topic.name)
        with pubsub.SubscriberClient() as client:
            client.create_subscription(name=topic.subscription, topic=topic.name)
        return topic

    return make
