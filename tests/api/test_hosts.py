"""Regions and endpoints: the host that each means, and addresses that are refused."""

from __future__ import annotations

import pytest

from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.errors import SettingError


@pytest.mark.parametrize(
    ("region", "host"),
    [
        (None, "api.mixpanel.com"),
        ("us", "api.mixpanel.com"),
        ("EU", "api-eu.mixpanel.com"),
        ("in", "api-in.mixpanel.com"),
    ],
)
def test_regions(region: str | None, host: str) -> None:
    destination = Destination.of(region)
    assert (destination.host, destination.url) == (host, f"https://{host}")
    assert destination.region == (region or "us").lower()


@pytest.mark.parametrize(
    ("region", "said"), [("usa", "did you mean us"), ("mars", "us, eu and in")]
)
def test_unknown_regions(region: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Destination.of(region)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://proxy.example.com/mixpanel/", "https://proxy.example.com/mixpanel"),
        ("https://api.mixpanel.com/import", "https://api.mixpanel.com"),
    ],
)
def test_endpoints(endpoint: str, url: str) -> None:
    assert Destination.of(endpoint=endpoint).url == url


def test_a_mixpanel_host_given_as_endpoint_is_known_as_its_region() -> None:
    assert Destination.of(endpoint="https://api-eu.mixpanel.com/").region == "eu"
    assert Destination.of(endpoint="http://127.0.0.1:1").region is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "api.mixpanel.com",
        "ftp://x",
        "http://",
        "https://host:port",
        "http://[::1",
        "",
        "https:///x",
    ],
)
def test_no_url(endpoint: str) -> None:
    with pytest.raises(SettingError, match="is not a URL with http or https"):
        Destination.of(endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint",
    ["https://me:hush@host", "https://hush@host", "https://host?key=hush", "https://host#hush"],
)
def test_credentials_in_the_url_are_refused_without_an_echo(endpoint: str) -> None:
    with pytest.raises(SettingError, match="plain base URL") as caught:
        Destination.of(endpoint=endpoint)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "127.0.0.1.example.com", "0.0.0.0"])
def test_http_to_another_machine_must_be_forced(host: str) -> None:
    with pytest.raises(SettingError, match="allow_http=True"):
        Destination.of(endpoint=f"http://{host}")
    assert Destination.of(endpoint=f"http://{host}", allow_http=True).host == host


def test_region_and_endpoint_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="not both"):
        Destination.of("us", "https://api.mixpanel.com")
