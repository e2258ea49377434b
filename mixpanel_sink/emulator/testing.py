"""An emulator as a subprocess, for tests.

>>> with Emulator(quota="10/second") as mixpanel:  # doctest: +SKIP
...     send_to(mixpanel.url, mixpanel.api_secret)
...     assert mixpanel.stats()["events_distinct"] == 3
"""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mixpanel_sink.emulator.client import Client, EmulatorError

__all__ = ["Client", "Emulator", "EmulatorError"]

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_SECRETS = ("API_SECRET", "PROJECT_TOKEN", "SERVICE_ACCOUNT", "PROJECT_ID")
_START_SECONDS = 30.0


class Emulator(Client):
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
            project_id = first.get("id", project_id)
        self.tls = tls
        super().__init__("", api_secret)
        self.project_token = project_token
        self.service_account = service_account
        self.project_id = project_id
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
            ids = [project.get("id") for project in self.projects]
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

    def _open(self, path: str, **given: Any) -> Any:
        if self._process is None:
            raise EmulatorError("the emulator is not running: use it as a context manager")
        return super()._open(path, **given)

    def _context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.certificate) if self.tls else None
