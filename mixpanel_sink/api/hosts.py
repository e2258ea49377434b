"""Where events go: Mixpanel's regions, or any endpoint by its URL."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
from urllib.parse import urlsplit

from mixpanel_sink.errors import SettingError

REGIONS = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}
"""Mixpanel's ingestion hosts by data residency."""


@dataclasses.dataclass(frozen=True)
class Destination:
    """One ingestion host.

    Attributes:
        url: scheme, host, port and perhaps a path prefix, without a slash at the end.
    """

    url: str

    @classmethod
    def of(
        cls, region: str | None = None, endpoint: str | None = None, allow_http: bool = False
    ) -> Destination:
        """From a region's name (default "us") or an endpoint's URL.

        Raises:
            SettingError: for both, an unknown region, text that is not a URL, or a URL that would
                send secrets in the clear to another machine.
        """
        if endpoint is None:
            name = "us" if region is None else str(region).lower()
            if name not in REGIONS:
                near = difflib.get_close_matches(name, REGIONS, 1)
                raise SettingError(
                    f"The region {region!r} is unknown. Mixpanel's regions are us, eu and in"
                    + (f"; did you mean {near[0]}?" if near else ".")
                )
            return cls(REGIONS[name])
        if region is not None:
            raise SettingError("Give a region or an endpoint, not both: the endpoint is the host.")
        return cls(_check_url(endpoint, allow_http))

    @property
    def host(self) -> str:
        """Host and port, to name the destination in results, metrics and logs."""
        return urlsplit(self.url).netloc

    @property
    def region(self) -> str | None:
        """The region's name, if it is one of Mixpanel's hosts."""
        return next((name for name, url in REGIONS.items() if url == self.url), None)

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def _check_url(endpoint: str, allow_http: bool) -> str:
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018  (raises on a port that is not a number)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(
            "The endpoint is not a URL with http or https and a host, such as "
            "https://api.mixpanel.com or http://127.0.0.1:8080."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError(
            "The endpoint must be a plain base URL: no user, password, query or fragment. "
            "Credentials go into credentials=."
        )
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise SettingError(
            f"The endpoint http://{parts.netloc} would send the credentials unencrypted to another "
            "machine. Use https, or allow_http=True (--allow-http) if you must."
        )
    path = parts.path.rstrip("/")
    for name in ("import", "track", "engage", "groups", "lookup-tables"):
        path = path.removesuffix(f"/{name}")
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
