"""Mixpanel's raw export API: GET /api/2.0/export, JSON lines.

60 queries an hour and 3 a second. The export is not deduplicated. Days are of UTC for projects
made since 2023, else of the project's time zone.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
import requests
import urllib3

from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.proxy import proxies_for
from mixpanel_sink.api.retry_after import retry_after
from mixpanel_sink.errors import AuthenticationError, CredentialsError, DestinationError
from mixpanel_sink.send.window import RollingWindow
from mixpanel_sink.settings.credentials import Credentials, ProjectToken
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.version import __version__

_LOGGER = logging.getLogger(__name__)
REGIONS = {
    "us": "https://data.mixpanel.com",
    "eu": "https://data-eu.mixpanel.com",
    "in": "https://data-in.mixpanel.com",
}
"""Mixpanel's export hosts by data residency."""
PATH = "/api/2.0/export"
QUOTA = Quota.parse("60/hour, 3/second")
"""The export's own quota; it is not that of /import."""
QUERIES = 50
"""Exports at most that one command asks for: 60 an hour are allowed."""
_MAX_LINE = 16_000_000
_BLOCK_BYTES = 8_000_000
_MAX_FILTER = 2000
"""Letters of the event filter; a longer one might make the URL too long for someone."""


def export_destination(
    region: str | None = None, endpoint: str | None = None, allow_http: bool = False
) -> Destination:
    """The export's host, by region or URL, as `Destination.of` has it for /import.

    Raises:
        SettingError: for both, an unknown region, or a URL that will not do.
    """
    destination = Destination.of(region, endpoint, allow_http)
    if endpoint is None:
        assert destination.region is not None
        return Destination(REGIONS[destination.region])
    return Destination(destination.url.removesuffix(PATH))


class Broken(Exception):
    """An export that ended before its end; it may be whole the next time."""


class Exporter:
    """Reads what a project holds, within the export's quota, with retries.

    Args:
        destination: see `export_destination`.
        credentials: `ApiSecret` or `ServiceAccount`; resolved here.
        retry: how long to try.
        quota: of queries.
        clock, sleep: seconds since 1970, and waiting.

    Raises:
        CredentialsError: if they do not resolve, or are a token, which may not export.
    """

    def __init__(
        self,
        destination: Destination,
        credentials: Credentials,
        retry: RetryPolicy | None = None,
        quota: Quota = QUOTA,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if isinstance(credentials, ProjectToken):
            raise CredentialsError(
                "The export does not take a project token. Give the API secret or a service "
                "account."
            )
        self._destination = destination
        self._credentials = credentials.resolve()
        self._retry = retry or RetryPolicy()
        self._windows = [RollingWindow(rate) for rate in quota.rates]
        self._clock = clock
        self._sleep = sleep
        self._session = requests.Session()
        self._proxies = proxies_for(destination.url)
        self._session.headers["User-Agent"] = f"mixpanel-sink/{__version__}"

    @property
    def host(self) -> str:
        """The host that it asks."""
        return self._destination.host

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def read(
        self,
        first: datetime.date,
        last: datetime.date,
        events: Sequence[str] | None,
        take: Callable[[Iterator[dict[str, Any]]], None],
    ) -> None:
        """Reads the events of some days, both included.

        Args:
            first, last: days, as the project counts them.
            events: names; None for all. (A long list is not sent; more may come then.)
            take: gets the events. It is called again, with all of them, if an export broke off:
                it must forget what it got before an exception.

        Raises:
            DestinationError: if the API refuses, or does not answer for too long.
        """
        self.read_lines(first, last, events, lambda blocks: take(_events(blocks)))

    def read_lines(
        self,
        first: datetime.date,
        last: datetime.date,
        events: Sequence[str] | None,
        take: Callable[[Iterator[bytes]], Any],
    ) -> None:
        """As `read`, but `take` gets bytes, whole lines each time; see `event_of_line`."""
        waits = self._retry.waits()
        failing = throttled = 0.0
        while True:
            started = self._clock()
            try:
                after = self._once(first, last, events, take)
                if after is None:
                    return
                wait = after if after > 0 else next(waits)
                throttled += wait
                if throttled > self._retry.throttled_seconds:
                    raise DestinationError(
                        f"{self.host} has answered 429 for too long (60 exports an hour are "
                        f"allowed); it asks to wait for {wait:.0f} s more. Try again then."
                    )
                _LOGGER.info("%s: 429; the next try is in %.0f s.", self.host, wait)
            except Broken as error:
                wait = next(waits)
                failing += self._clock() - started + wait
                if failing > self._retry.transient_seconds:
                    raise DestinationError(
                        f"{self.host} gave no complete export of {first} to {last}: {error}. Try "
                        "again later."
                    ) from None
                _LOGGER.warning("%s: %s; again in %.0f s.", self.host, error, wait)
            self._sleep(wait)

    def _once(
        self,
        first: datetime.date,
        last: datetime.date,
        events: Sequence[str] | None,
        take: Callable[[Iterator[bytes]], Any],
    ) -> float | None:
        """One query. Gives None if it is done, or how long to wait (0: as long as you like)."""
        query = {"from_date": str(first), "to_date": str(last), "time_in_ms": "true"}
        if events is not None and len(names := json.dumps(list(events))) <= _MAX_FILTER:
            query["event"] = names
        if self._credentials.project_id is not None:
            query["project_id"] = self._credentials.project_id
        self._wait_for_quota()
        asked = True
        try:
            with self._session.get(
                self._destination.url + PATH,
                params=query,
                auth=(self._credentials.user, self._credentials.password),
                timeout=(self._retry.connect_timeout, self._retry.read_timeout),
                proxies=self._proxies,
                stream=True,
                allow_redirects=False,  # they would carry the credentials to another place
            ) as response:
                self._asked()
                asked = False
                if response.status_code == 200:
                    take(_blocks(response))
                    return None
                return self._refused(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Broken(_short(error)) from None
        finally:
            if asked:
                self._asked()

    def _wait_for_quota(self) -> None:
        while True:
            now = self._clock()
            wait = max((window.wait(now, 1) for window in self._windows), default=0.0)
            if wait <= 0:
                break
            if wait > 5:
                _LOGGER.info("Waiting %.0f s for the export's quota of 60 an hour.", wait)
            self._sleep(wait)
        for window in self._windows:
            window.begin(1)

    def _asked(self) -> None:
        for window in self._windows:
            window.end(self._clock(), 1)

    def _refused(self, response: requests.Response) -> float:
        """What an answer other than 200 means: seconds to wait, or an exception."""
        status, said = response.status_code, self._said(response)
        if status == 429:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return retry_after(headers, self._clock()) or 0.0
        if status in (401, 403):
            raise AuthenticationError(
                f"{self.host} does not accept the {self._credentials.kind} ({status}{said}). Check "
                "it, the project, and that --region is the project's."
            )
        if status >= 500:
            raise Broken(f"it answered {status}{said}")
        if 300 <= status < 400:
            raise DestinationError(
                f"{self.host} answered with a redirect ({status}), which is not followed, since it "
                "would carry the credentials away. Check the endpoint."
            )
        raise DestinationError(f"{self.host} refused the export ({status}{said}).")

    def _said(self, response: requests.Response) -> str:
        """The answer's own words, without a secret."""
        body = b""
        with contextlib.suppress(requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            body = next(response.iter_content(4096), b"")
        text = body.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(answer := json.loads(text), dict):
                text = str(answer.get("error", text))
        for secret in (self._credentials.user, self._credentials.password):
            if secret:
                text = text.replace(secret, "...")
        text = " ".join(text.split())[:200]
        return f": {text}" if text else ""


def spans(
    first: datetime.date, last: datetime.date, most: int
) -> Iterator[tuple[datetime.date, datetime.date]]:
    """Neighbouring spans of equally many days, `most` at most."""
    days = (last - first).days + 1
    length = -(-days // most)
    for start in range(0, days, length):
        end = min(start + length, days) - 1
        yield first + datetime.timedelta(start), first + datetime.timedelta(end)


def _events(blocks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    lines = (line for block in blocks for line in block.split(b"\n"))
    return (event_of_line(line) for line in lines if line.strip())


def event_of_line(line: bytes) -> dict[str, Any]:
    """The event that a line of the export holds.

    Raises:
        Broken: if it holds none.
    """
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        text = line[:80].decode("utf-8", "replace")
        raise Broken(f"the export holds a line that is not JSON ({text!r})") from None
    if (
        not isinstance(event, dict)
        or not isinstance(event.get("properties"), dict)
        or not isinstance(event.get("event"), str)
    ):
        raise Broken("the export holds a line that is not an event")
    return event


def _blocks(response: requests.Response) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(1 << 18):
        end = part.rfind(b"\n") + 1
        if size + len(part) >= _BLOCK_BYTES and end:
            yield b"".join([*parts, part[:end]])
            parts, size = [], 0
            part = part[end:]
        parts.append(part)
        size += len(part)
        if size > _MAX_LINE:
            raise Broken(f"the export holds a line of over {_MAX_LINE} bytes")
    if size:
        yield b"".join(parts)


def _short(error: Exception) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the timeout"
    if isinstance(error, requests.Timeout):
        return "no answer within the timeout"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed: the certificate is not trusted or not the host's"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the export broke off"
    return f"the connection failed ({type(error).__name__})"
