"""`--notify`: tells a URL, such as a Slack webhook, what a job came to.

A job notes what is known of its end with `note`; `told` posts it when the job has ended, well or
not. Nothing here changes what the job came to: what cannot be posted is a warning.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import datetime
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests

from mixpanel_sink.api.hosts import is_loopback
from mixpanel_sink.api.proxy import proxies_for
from mixpanel_sink.errors import CredentialsError, DestinationError, MixpanelSinkError, SettingError
from mixpanel_sink.interrupts import EXIT_INTERRUPTED
from mixpanel_sink.jobs.outcome import EXIT_FAILED, EXIT_OK, EXIT_SETTING
from mixpanel_sink.results import FailureSummary
from mixpanel_sink.secrets import resolve
from mixpanel_sink.settings.options import REFERENCES, Settings
from mixpanel_sink.version import __version__

LIMIT_SECONDS = 15.0
"""How long a notification may take, with its retry."""
_TRIES = 2
_SHOWN = 20
"""Names of files in a notification, at most."""
_LONGEST = 2000
"""Characters of an error, at most."""
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S+")
_WHAT = "The notification URL"


@dataclasses.dataclass
class _Noted:
    """What a running job has said about its end so far."""

    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


_noted: contextvars.ContextVar[_Noted | None] = contextvars.ContextVar("noted", default=None)


def note(**facts: Any) -> None:
    """Notes facts for the notification: `counters`, `failures` (of `FailureSummary`),
    `error`, `status` ("launched"), `run` (its id) or `result` (a sentence). Does nothing without
    --notify."""
    noted = _noted.get()
    if noted is not None:
        noted.facts |= facts


def told(command: str, settings: Settings, start: Callable[[], int]) -> int:
    """Runs a job, posts its outcome if the settings ask for that, and returns its exit code.

    Args:
        command: the verb, such as "import".
        settings: of the user.
        start: runs the job; what it raises is told and raised again.

    Raises:
        SettingError: if the URL cannot be had or used; nothing has begun then.
    """
    if settings.notify is None:
        return start()
    url = _url(settings.notify, settings.allow_http)
    began, clock = time.time(), time.monotonic()
    with _noting() as noted:
        code = EXIT_FAILED
        try:
            code = start()
        except KeyboardInterrupt:
            code = EXIT_INTERRUPTED
            raise
        except MixpanelSinkError as error:
            code = EXIT_SETTING
            note(error=str(error))
            raise
        except Exception as error:
            note(error=f"{type(error).__name__}; the job's log says more.")
            raise
        finally:
            message = _message(
                command, settings, code, (began, time.monotonic() - clock), noted.facts
            )
            _post(url, _redacted(message, [url, *_secrets(settings)]))
    return code


@contextlib.contextmanager
def _noting() -> Iterator[_Noted]:
    noted = _Noted()
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def _url(given: str, allow_http: bool) -> str:
    """The URL itself, where `given` may be a reference to it."""
    url = given if re.match("https?://", given) else resolve(given, _WHAT)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises on a port that is not a number)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CredentialsError(f"{_WHAT} is not a URL with http or https and a host. Check it.")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise SettingError(
            f"{_WHAT} would be sent unencrypted to {parts.netloc.rpartition('@')[2]}, and anyone "
            "who knows it can post there. Use https, or --allow-http if you must."
        )
    return url


def _message(
    command: str,
    settings: Settings,
    code: int,
    when: tuple[float, float],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """What is posted; see docs/schedules.md. No data of records is in it. `when` is the start, in
    seconds since 1970, and for how many seconds it ran."""
    began, took = when
    counters: Mapping[str, int] = facts.get("counters", {})
    failures: Sequence[FailureSummary] = facts.get("failures", ())
    reasons: dict[str, int] = {}
    for each in failures:
        reasons[each.reason] = reasons.get(each.reason, 0) + each.count
    error = facts.get("error")
    status = {EXIT_OK: "succeeded", EXIT_SETTING: "refused", EXIT_INTERRUPTED: "interrupted"}
    made = {
        "text": "",
        "command": command,
        "status": facts.get("status") or status.get(code, "failed"),
        "exit_code": code,
        "started": datetime.datetime.fromtimestamp(began, datetime.UTC).isoformat(
            timespec="seconds"
        ),
        "run": facts.get("run"),
        "seconds": round(took, 1),
        "input": list(settings.input[:_SHOWN]),
        "counters": dict(counters),
        "failures": reasons,
        "failed_output": settings.failed_output,
        "report": settings.report,
        "error": None if error is None else " ".join(str(error).split())[:_LONGEST],
        "result": facts.get("result"),
        "version": __version__,
    }
    return {**made, "text": _text(made)}


def _text(made: Mapping[str, Any]) -> str:
    """The notification as text."""
    counters, reasons = made["counters"], made["failures"]
    source = ", ".join(made["input"][:3]) + (", ..." if len(made["input"]) > 3 else "")
    head = f"mixpanel-sink {made['command']}{f' of {source}' if source else ''} {made['status']}"
    if made["exit_code"] != EXIT_OK:
        head += f" (exit code {made['exit_code']})"
    lines = [f"{head} after {made['seconds']:,.0f} s."]
    if made["error"]:
        lines.append(made["error"])
    if made["result"]:
        lines.append(made["result"])
    if counters:
        lines.append(
            f"{counters.get('records_read', 0):,} read, {counters.get('events_accepted', 0):,} "
            f"accepted, {counters.get('records_failed', 0):,} failed."
        )
    if reasons:
        shown = sorted(reasons.items(), key=lambda item: -item[1])
        lines.append("Failed: " + ", ".join(f"{name} {count:,}" for name, count in shown) + ".")
    return "\n".join(lines)


def _secrets(settings: Settings) -> list[str]:
    """The secrets that this machine can read without a request."""
    found = []
    for name in REFERENCES:
        reference = getattr(settings, name)
        if isinstance(reference, str) and reference.startswith(("env:", "file:")):
            with contextlib.suppress(CredentialsError):
                found.append(resolve(reference, name))
    return found


def _redacted(value: Any, secrets: Sequence[str]) -> Any:
    """The same without secrets, and without what a URL in it may hold of them."""
    if isinstance(value, dict):
        return {key: _redacted(part, secrets) for key, part in value.items()}
    if isinstance(value, list):
        return [_redacted(part, secrets) for part in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, "[redacted]")
    return _QUERY.sub(r"\1", _USER.sub("", value))


def _post(url: str, message: Mapping[str, Any]) -> None:
    """Posts the message, or says why not. A thread of its own, which nothing waits for at the end:
    only so is a server bounded that answers one byte at a time."""
    problem = ["it took too long"]
    thread = threading.Thread(target=_try, args=(url, message, problem), daemon=True)
    thread.start()
    thread.join(LIMIT_SECONDS)
    if problem:
        host = urlsplit(url).netloc.rpartition("@")[2]
        print(
            f"Warning: the notification did not reach {host}: {problem[-1]}. What the job came to "
            "stays as it is.",
            file=sys.stderr,
        )


def _try(url: str, message: Mapping[str, Any], problem: list[str]) -> None:
    """Empties `problem`, or writes it; the words of HTTP libraries would hold the URL."""
    for attempt in range(_TRIES):
        try:
            with requests.post(
                url,
                json=message,
                timeout=LIMIT_SECONDS / 3,
                proxies=proxies_for(url),
                allow_redirects=False,
                stream=True,
            ) as response:
                if 200 <= response.status_code < 300:
                    problem.clear()
                    return
                problem.append(f"HTTP {response.status_code}")
                if response.status_code < 500 and response.status_code != 429:
                    return
        except DestinationError as error:
            problem.append(str(error))
            return
        except (requests.RequestException, ValueError) as error:
            problem.append(type(error).__name__)
        if attempt + 1 < _TRIES:
            time.sleep(1)
