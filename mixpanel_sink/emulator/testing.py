"""An emulator as a subprocess, for tests.

>>> with Emulator(quota="10/second") as mixpanel:  # doctest: +SKIP
...     send_to(mixpanel.url, mixpanel.api_secret)
...     assert mixpanel.stats()["events_distinct"] == 3
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_SECRETS = ("API_SECRET", "PROJECT_TOKEN", "SERVICE_ACCOUNT", "PROJECT_ID")
_START_SECONDS = 30.0


class EmulatorError(RuntimeError):
    """The emulator did not start, or refused what it was asked."""


class Emulator:
    """A context manager: an emulator on a free port of the loopback address.

    It ends with the ``with`` block, and by itself when the process that started it dies.
    Everything that the command line takes can be given by name (``variant="reference"``,
    ``max_batch=10``, ``latency_ms=5``, ``db=path``). Unlike there, no quota holds unless it is
    given: a test should not wait for an hour by default.

    Raises:
        EmulatorError: it did not start; with what it wrote to stderr.
    """

    def __init__(
        self,
        *,
        api_secret: str = "emulator-secret",
        project_token: str = "emulator-token",
        service_account: tuple[str, str] | None = None,
        project_id: int = 1,
        quota: str = "none",
        port: int = 0,
        faults: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> None:
        self.api_secret = api_secret
        self.project_token = project_token
        self.service_account = service_account
        self.project_id = project_id
        self.url = ""
        self.port = port
        self._faults = list(faults)
        self._options: dict[str, Any] = {"quota": quota, **options}
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> "Emulator":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running emulator."""
        if self._process is None:
            raise EmulatorError("the emulator is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it takes requests."""
        if self._process is not None:
            raise EmulatorError("the emulator is already running")
        args = [sys.executable, "-m", "mixpanel_sink.emulator", "--until-stdin-ends"]
        for name, value in {**self._options, "port": self.port}.items():
            if value is not None:
                args += [f"--{name.replace('_', '-')}", str(value)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._process = subprocess.Popen(
            args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment(),
        )
        line = self._first_line()
        if "http://" not in line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
            self.stop()
            raise EmulatorError(f"the emulator did not start: {said or 'it said nothing'}")
        self.url = line[line.index("http://") :].split()[0]
        # A second start() comes back at the same address.
        self.port = int(self.url.rpartition(":")[2])
        if self._faults:
            self.faults(self._faults)

    def _environment(self) -> dict[str, str]:
        known = {f"MIXPANEL_{name}" for name in _SECRETS}
        environment = {name: value for name, value in os.environ.items() if name not in known}
        # By environment and not as arguments: those can be read by every user of the machine.
        environment["MIXPANEL_API_SECRET"] = self.api_secret
        environment["MIXPANEL_PROJECT_TOKEN"] = self.project_token
        environment["MIXPANEL_PROJECT_ID"] = str(self.project_id)
        if self.service_account:
            environment["MIXPANEL_SERVICE_ACCOUNT"] = ":".join(self.service_account)
        paths = [_PACKAGE_PARENT, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return environment

    def _first_line(self) -> str:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        late = threading.Timer(_START_SECONDS, process.kill)
        late.start()
        try:
            return process.stdout.readline().decode(errors="replace")
        finally:
            late.cancel()

    def stop(self) -> None:
        """End the process and wait for it; nothing happens when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def stats(self) -> dict[str, Any]:
        """Counts of events, requests and duplicates, and the busiest quota window."""
        result: dict[str, Any] = self._get("/emulator/stats")
        return result

    def events(
        self,
        limit: int = 100,
        offset: int = 0,
        *,
        event: str | None = None,
        distinct_id: str | None = None,
        insert_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Stored events in the order of arrival, at most 10,000 a call."""
        query = {"event": event, "distinct_id": distinct_id, "insert_id": insert_id}
        result: list[dict[str, Any]] = self._get(
            "/emulator/events", limit=limit, offset=offset, **query
        )["events"]
        return result

    def updates(
        self, kind: str = "engage", limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        """Stored updates of profiles (``engage``) or groups (``groups``), as they came."""
        result: list[dict[str, Any]] = self._get(
            "/emulator/updates", kind=kind, limit=limit, offset=offset
        )["updates"]
        return result

    def requests(self, limit: int = 10_000, offset: int = 0) -> list[dict[str, Any]]:
        """The request log, oldest first, at most 10,000 a call."""
        result: list[dict[str, Any]] = self._get("/emulator/requests", limit=limit, offset=offset)[
            "requests"
        ]
        return result

    def insert_ids(self) -> list[str]:
        """The ``$insert_id`` of every stored event that has one, in order."""
        return list(self.iter_insert_ids())

    def iter_insert_ids(self) -> Iterator[str]:
        """The same one by one, for stores that are larger than memory."""
        with urllib.request.urlopen(self.url + "/emulator/insert_ids") as lines:
            for line in lines:
                yield line.decode().rstrip("\n")

    def reset(self, **settings: Any) -> dict[str, Any]:
        """Forget events, requests, quota and faults; change settings; return all settings."""
        result: dict[str, Any] = self._send("POST", "/emulator/reset", settings)
        return result

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Change settings of the running emulator; return all of them."""
        result: dict[str, Any] = self._send("POST", "/emulator/settings", settings)
        return result

    def faults(self, plan: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
        """Set the fault plan: a list of faults, or an object with faults, seed, rate, kinds."""
        result: dict[str, Any] = self._send("POST", "/emulator/faults", plan)
        return result

    def remaining_faults(self) -> list[dict[str, Any]]:
        """The listed faults that no request has met yet."""
        result: list[dict[str, Any]] = self._get("/emulator/faults")["faults"]
        return result

    def _get(self, path: str, **query: object) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self._send("GET", f"{path}?{urllib.parse.urlencode(given)}")

    def _send(self, method: str, path: str, value: object = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise EmulatorError(error.read().decode(errors="replace")) from None
