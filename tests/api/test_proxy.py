"""The proxy of the environment: which it is, and why it cannot be used."""

from __future__ import annotations

import pytest
import requests

from mixpanel_sink.api.proxy import proxies_for
from mixpanel_sink.api.transport import HttpTransport
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.read.connection import UnreachableError, reached

URL = "https://api.mixpanel.test"
UNUSABLE = {
    **dict.fromkeys(
        ["https://me:s3cr@", "http://me:s3cr@:3128", "http://", "me:s3cr@", "https://:s3cr@"],
        "it has no host",
    ),
    **dict.fromkeys(
        ["http://proxy:port", "http://proxy:99999", "http://me:s3cr/s3cr@proxy", "http://[::1"],
        "port is a number up to 65535",
    ),
    **dict.fromkeys(["ftp://me:s3cr@proxy", "'http://me:s3cr@proxy:1'"], "not one of http, https"),
    **dict.fromkeys(
        [f"http://{'s3cr' * 50}", "http://.:80", "http://me:s3cr@pro xy", "http://proxy:0"],
        "its host or port is not valid",
    ),
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_what_is_wrong_with_a_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for proxy, why in UNUSABLE.items():
        monkeypatch.setenv(name, proxy)
        with pytest.raises(DestinationError, match=why) as found:
            HttpTransport(URL, {}, 1, 1)
        said = str(found.value)
        assert "s3cr" not in said, proxy
        assert "Write http://user:password@host:port" in said
        # What a client of cloud storage makes of it may be any error.
        with pytest.raises(UnreachableError, match=why), reached("gs://bucket/events.parquet"):
            raise TypeError("sequence item 1: expected str instance, NoneType found")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://me:pw@proxy:3128", "http://me:pw@proxy:3128"),
        ("proxy:3128", "http://proxy:3128"),  # as curl reads it
        ("proxy", "http://proxy"),
        (" http://proxy:3128/\n", "http://proxy:3128"),
        ("https://[::1]:3128", "https://[::1]:3128"),
        ("", None),
    ],
)
def test_which_proxy_is_used(monkeypatch: pytest.MonkeyPatch, given: str, used: str | None) -> None:
    monkeypatch.setenv("HTTPS_PROXY", given)
    proxies = proxies_for(URL)
    assert proxies.get("https") == used
    HttpTransport(URL, {}, 1, 1)
    asked = requests.Session().merge_environment_settings(URL, proxies, None, None, None)
    assert requests.utils.select_proxy(URL, asked["proxies"]) == used
    assert "https" not in proxies_for("https://127.0.0.1:8080")
    monkeypatch.setenv("NO_PROXY", "mixpanel.test")
    assert "https" not in proxies_for(URL)
