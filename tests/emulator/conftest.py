"""Two running emulators, one a variant, shared by all tests and reset before each."""

import gzip
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator

DEFAULTS: dict[str, Any] = {
    "quota": "none",
    "dedupe": None,
    "dedupe_window": 86400,
    "failed_records_as": "objects",
    "max_batch": 2000,
    "max_body_bytes": 10 * 1024 * 1024,
    "max_event_bytes": None,
    "latency_ms": 0,
    "identity_mode": "simplified",
    "refuse_identity": False,
    "strict_count": "num_good_events",
    "export_shape": "mixpanel",
    "export_quotas": "none",
    "keep_duplicates": True,
    "region": None,
}


class Api:
    """A client of one emulator that leaves nothing out of its requests by itself."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.session = requests.Session()
        self._numbers = itertools.count(1)

    def event(self, name: Any = "Sign Up", **properties: Any) -> dict[str, Any]:
        """A valid event; a property given as ... is left out."""
        number = next(self._numbers)
        given = {
            "time": int(time.time()) - 3600,
            "distinct_id": f"user-{number}",
            "$insert_id": f"id-{number}",
            "token": self.emulator.project_token,
            **properties,
        }
        return {
            "event": name,
            "properties": {k: v for k, v in given.items() if v is not ...},
        }

    def post(self, path: str, data: Any = None, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        return self.session.post(self.emulator.url + path, data=data, **options)

    def send(
        self,
        events: Any,
        *,
        path: str = "/import?strict=1",
        ndjson: bool = False,
        zipped: bool = False,
        auth: Any = "secret",
        **headers: str,
    ) -> requests.Response:
        """POST events (a list, one object, or raw bytes) to /import."""
        body = events if isinstance(events, bytes) else json.dumps(events).encode()
        if ndjson and not isinstance(events, bytes):
            body = b"\n".join(json.dumps(event).encode() for event in events)
        kind = "application/x-ndjson" if ndjson else "application/json"
        given = {"Content-Type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
        if zipped:
            body = gzip.compress(body)
            given["Content-Encoding"] = "gzip"
        if auth == "secret":
            auth = (self.emulator.api_secret, "")
        return self.post(path, body, headers=given, auth=auth, allow_redirects=False)


@pytest.fixture(scope="session")
def _emulators() -> Iterator[Callable[[str], Emulator]]:
    running: dict[str, Emulator] = {}

    def get(variant: str) -> Emulator:
        if variant not in running:
            running[variant] = Emulator(
                variant=variant, project_id=42, service_account=("robot", "robot-secret")
            )
            running[variant].start()
        return running[variant]

    yield get
    for emulator in running.values():
        emulator.stop()


def _fresh(emulator: Emulator, variant: str) -> Api:
    emulator.reset(variant=variant, **DEFAULTS)
    return Api(emulator)


@pytest.fixture
def page(_emulators: Callable[[str], Emulator]) -> Api:
    return _fresh(_emulators("page"), "page")


@pytest.fixture
def reference(_emulators: Callable[[str], Emulator]) -> Api:
    return _fresh(_emulators("reference"), "reference")


@pytest.fixture(params=["page", "reference"])
def api(request: pytest.FixtureRequest, _emulators: Callable[[str], Emulator]) -> Api:
    """Each test runs against both variants."""
    return _fresh(_emulators(request.param), request.param)
