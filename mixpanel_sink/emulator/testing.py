"""An emulator as a subprocess, for tests.

>>> with Emulator(quota="10/second") as mixpanel:  # doctest: +SKIP
...     send_to(mixpanel.url, mixpanel.api_secret)
...     assert mixpanel.stats()["events_distinct"] == 3
"""

import base64
import json
import os
import ssl
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

    `projects` are several projects instead of one: objects with ``id``, ``token``,
    ``api_secret``, ``quota``, ``identity_mode`` and ``region``. The attributes `api_secret`,
    `project_token` and `project_id` are then the first one's. With ``tls=True`` the url is an
    https one, and `certificate` the file that clients must be told to trust.

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
        projects: Sequence[Mapping[str, Any]] = (),
        tls: bool = False,
        **options: Any,
    ) -> None:
        self.projects = [dict(project) for project in projects]
        if self.projects:
            first = self.projects[0]
            api_secret = first.get("api_secret", "")
            project_token = first.get("token", "")
            project_id = first["id"]
        self.tls = tls
        self.api_secret = api_secret
        self.project_token = project_token
        self.service_account = service_account
        self.project_id = project_id
        self.url = ""
        self.port = port
        self._faults = list(faults)
        self._options: dict[str, Any] = {"quota": quota, "export_quotas": "none", **options}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
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

    @property
    def certificate(self) -> str:
        """The path of the running emulator's certificate; it speaks TLS."""
        if self._folder is None or not self.tls:
            raise EmulatorError("the emulator is not running with tls=True")
        return str(Path(self._folder.name) / "certificate.pem")

    def start(self) -> None:
        """Start the process and wait until it takes requests."""
        if self._process is not None:
            raise EmulatorError("the emulator is already running")
        self._folder = tempfile.TemporaryDirectory(prefix="mixpanel-emulator-")
        args = [sys.executable, "-m", "mixpanel_sink.emulator", "--until-stdin-ends"]
        for name, value in {**self._options, "port": self.port}.items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                args.append(f"--{option}" if value else f"--no-{option}")
            elif value is not None:
                args += [f"--{option}", str(value)]
        if self.projects:
            args += ["--projects", self._write_projects()]
        if self.tls:
            args += ["--tls", "--tls-certificate", self.certificate]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._process = subprocess.Popen(
            args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment(),
        )
        line = self._first_line()
        if "://" not in line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
            self.stop()
            raise EmulatorError(f"the emulator did not start: {said or 'it said nothing'}")
        self.url = next(word for word in line.split() if "://" in word)
        # A second start() comes back at the same address.
        self.port = int(self.url.rpartition(":")[2])
        if self._faults:
            self.faults(self._faults)

    def _environment(self) -> dict[str, str]:
        known = {f"MIXPANEL_{name}" for name in _SECRETS}
        environment = {name: value for name, value in os.environ.items() if name not in known}
        if self.projects:
            self._add_path(environment)
            return environment
        # By environment and not as arguments: those can be read by every user of the machine.
        environment["MIXPANEL_API_SECRET"] = self.api_secret
        environment["MIXPANEL_PROJECT_TOKEN"] = self.project_token
        environment["MIXPANEL_PROJECT_ID"] = str(self.project_id)
        if self.service_account:
            environment["MIXPANEL_SERVICE_ACCOUNT"] = ":".join(self.service_account)
        self._add_path(environment)
        return environment

    @staticmethod
    def _add_path(environment: dict[str, str]) -> None:
        paths = [_PACKAGE_PARENT, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)

    def _write_projects(self) -> str:
        assert self._folder is not None
        content: dict[str, Any] = {"projects": self.projects}
        if self.service_account:
            user, secret = self.service_account
            ids = [project["id"] for project in self.projects]
            content["service_accounts"] = [{"user": user, "secret": secret, "projects": ids}]
        path = Path(self._folder.name) / "projects.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))
        return str(path)

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
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

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

    def event_details(
        self,
        limit: int = 100,
        *,
        before: int | None = None,
        search: str | None = None,
        project: int | None = None,
        **filters: str,
    ) -> list[dict[str, Any]]:
        """Stored events, newest first, each beside its number, request, user and geolocation.

        `before` is the number of the last one of the page before, `search` the beginning of a
        name or id, `filters` are exact: event, distinct_id, insert_id.
        """
        more = {"before": before, "search": search, "project": project, **filters}
        result: list[dict[str, Any]] = self._get("/emulator/events", detail=1, limit=limit, **more)[
            "events"
        ]
        return result

    def counts(self, unit: str = "hour", project: int | None = None) -> dict[str, Any]:
        """Events over time, by name: ``{"starts": [...], "events": {name: [count, ...]}}``."""
        result: dict[str, Any] = self._get("/emulator/counts", unit=unit, project=project)
        return result

    def profiles(
        self, limit: int = 100, offset: int = 0, *, search: str = "", project: int | None = None
    ) -> list[dict[str, Any]]:
        """User profiles in the order of their ids, at most 10,000 a call."""
        query = {"limit": limit, "offset": offset, "search": search, "project": project}
        result: list[dict[str, Any]] = self._get("/emulator/profiles", **query)["profiles"]
        return result

    def profile(self, distinct_id: str, project: int | None = None) -> dict[str, Any]:
        """One user's properties (None: no profile) and the operations that made them."""
        query = {"distinct_id": distinct_id, "project": project}
        result: dict[str, Any] = self._get("/emulator/profiles", **query)
        return result

    def groups(
        self, limit: int = 100, offset: int = 0, *, search: str = "", project: int | None = None
    ) -> list[dict[str, Any]]:
        """Group profiles in the order of their ids, at most 10,000 a call."""
        query = {"limit": limit, "offset": offset, "search": search, "project": project}
        result: list[dict[str, Any]] = self._get("/emulator/groups", **query)["groups"]
        return result

    def group(self, group_key: str, group_id: str, project: int | None = None) -> dict[str, Any]:
        """One group's properties (None: no profile) and the operations that made them."""
        query = {"group_key": group_key, "group_id": group_id, "project": project}
        result: dict[str, Any] = self._get("/emulator/groups", **query)
        return result

    def user(
        self, id: str, project: int | None = None, limit: int = 100, offset: int = 0
    ) -> dict[str, Any]:
        """The user that has this id: canonical id, all ids, profile, and events, newest first."""
        path = f"/emulator/users/{urllib.parse.quote(id, safe='')}"
        result: dict[str, Any] = self._get(path, project=project, limit=limit, offset=offset)
        return result

    def links(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """What identity events did, newest first; `ignored` says why one had no effect."""
        result: list[dict[str, Any]] = self._get(
            "/emulator/identities", limit=limit, offset=offset
        )["links"]
        return result

    def quota(self) -> list[dict[str, Any]]:
        """How much of each project's quotas is used up at this moment."""
        result: list[dict[str, Any]] = self._get("/emulator/quota")["projects"]
        return result

    def export(
        self,
        from_date: str,
        to_date: str,
        *,
        events: Sequence[str] | None = None,
        api_secret: str | None = None,
        **query: Any,
    ) -> Iterator[dict[str, Any]]:
        """The raw export's events, one by one; days as YYYY-MM-DD, both included."""
        given = {"from_date": from_date, "to_date": to_date, **query}
        if events is not None:
            given["event"] = json.dumps(list(events))
        secret = self.api_secret if api_secret is None else api_secret
        basic = base64.b64encode(f"{secret}:".encode()).decode()
        url = f"{self.url}/api/2.0/export?{urllib.parse.urlencode(given)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {basic}"})
        try:
            with urllib.request.urlopen(request, context=self._context()) as lines:
                for line in lines:
                    yield json.loads(line)
        except urllib.error.HTTPError as error:
            raise EmulatorError(error.read().decode(errors="replace")) from None

    def requests(
        self, limit: int = 10_000, offset: int = 0, **filters: Any
    ) -> list[dict[str, Any]]:
        """The request log, oldest first, at most 10,000 a call.

        `filters`: path, status, project, fault, and ``order="newest"``.
        """
        result: list[dict[str, Any]] = self._get(
            "/emulator/requests", limit=limit, offset=offset, **filters
        )["requests"]
        return result

    def insert_ids(self) -> list[str]:
        """The ``$insert_id`` of every stored event that has one, in order."""
        return list(self.iter_insert_ids())

    def iter_insert_ids(self) -> Iterator[str]:
        """The same one by one, for stores that are larger than memory."""
        url = self.url + "/emulator/insert_ids"
        with urllib.request.urlopen(url, context=self._context()) as lines:
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

    def _context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.certificate) if self.tls else None

    def _get(self, path: str, /, **query: object) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self._send("GET", f"{path}?{urllib.parse.urlencode(given)}")

    def _send(self, method: str, path: str, value: object = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120, context=self._context()) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise EmulatorError(error.read().decode(errors="replace")) from None
