"""The proxy that the environment names for a URL, and why it cannot be used."""

from __future__ import annotations

import importlib.util
import ipaddress
from urllib.parse import SplitResult, urlsplit

import requests

from mixpanel_sink.api.hosts import is_loopback
from mixpanel_sink.errors import DestinationError

_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443, **dict.fromkeys(_SOCKS, 1080)}


def proxy_of(url: str) -> SplitResult | None:
    """The proxy for requests to a URL; None if they go there directly. Without a scheme it is one
    of HTTP, as for curl. Requests to this machine have none: a proxy would be another machine.

    Raises:
        DestinationError: if it cannot be used. The text holds none of its parts: one of them is a
            password.
    """
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    named = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if named is None:
        return None
    named = named.strip()
    try:
        parts = urlsplit(named if "://" in named else f"http://{named.removeprefix('//')}")
        port, host = parts.port, parts.hostname
    except ValueError:  # whose text may hold a part of the password
        raise _unusable("it is not a URL whose port is a number up to 65535.") from None
    if parts.scheme not in _PORTS:
        raise _unusable("it is not one of http, https, socks4 and socks5.")
    if not host:
        raise _unusable("it has no host.")
    if port == 0 or not _is_host(host):
        raise _unusable("its host or port is not valid.")
    if parts.scheme in _SOCKS and importlib.util.find_spec("socks") is None:
        raise _unusable("a SOCKS proxy needs PySocks, here and where the workers run.")
    return parts._replace(path="", query="", fragment="")


def proxies_for(url: str) -> dict[str, str]:
    """The same, as `requests` takes it.

    Raises:
        DestinationError: as for `proxy_of`.
    """
    parts = urlsplit(url)
    proxy = proxy_of(url)
    return {"no_proxy": parts.hostname or ""} if proxy is None else {parts.scheme: proxy.geturl()}


def port_of(parts: SplitResult) -> int:
    """The port of a proxy or a server, or its scheme's."""
    return parts.port or _PORTS[parts.scheme]


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            labels = host.removesuffix(".").encode("idna").decode().split(".")
        except UnicodeError:  # such as a label that is empty, or too long
            return False
        return all(label.replace("-", "").replace("_", "").isalnum() for label in labels)
    return True


def _unusable(why: str) -> DestinationError:
    return DestinationError(
        f"The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names cannot be used: {why} Write "
        "http://user:password@host:port; in the password, characters such as / and # are written "
        "as %2F and %23."
    )
