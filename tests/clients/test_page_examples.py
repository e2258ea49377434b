"""The examples of Mixpanel's page "HTTP API Ingestion", word for word but for the host.

curl examples are run by curl, Python examples by Python, JSON examples are sent or compared. Each
must succeed or fail as the page says. Some Python examples are fragments; what they presuppose
is set before them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator

HOST = "https://api.mixpanel.com"
TOKEN, SECRET = "YOUR_PROJECT_TOKEN", "YOUR_API_SECRET"


class Example(NamedTuple):
    """One code block of the page, with the words above it."""

    language: str
    words: str
    text: str


def _read() -> list[Example]:
    path = Path(__file__).parent / "page_examples.txt"
    examples = []
    for part in path.read_text().split("\n=== ")[1:]:
        head, _, text = part.partition("\n")
        language, _, words = head.partition(": ")
        examples.append(Example(language, words, text.strip("\n")))
    return examples


EXAMPLES = _read()


def _example(language: str, words: str) -> Example:
    (found,) = (e for e in EXAMPLES if e.language == language and e.words == words)
    return found


@pytest.fixture(scope="module")
def _running() -> Iterator[Emulator]:
    with Emulator(variant="page", api_secret=SECRET, project_token=TOKEN) as running:
        yield running


@pytest.fixture
def emulator(_running: Emulator) -> Emulator:
    _running.reset()
    return _running


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _curl(emulator: Emulator, words: str) -> str:
    text = _example("curl", words).text
    assert HOST in text
    return _run(["sh", "-c", text.replace(HOST, emulator.url) + " --silent --noproxy '*'"])


def _python(emulator: Emulator, words: str, before: str = "", after: str = "") -> str:
    text = _example("python", words).text.replace(HOST, emulator.url)
    return _run([sys.executable, "-c", f"{before}\n{text}\n{after}"])


def _send(emulator: Emulator, path: str, value: Any) -> requests.Response:
    return requests.post(emulator.url + path, json=value, timeout=10)


SUCCESS = {"status": 1, "error": None}


def test_the_page_has_these_examples() -> None:
    counts = {
        kind: sum(e.language == kind for e in EXAMPLES) for kind in ("curl", "python", "json")
    }
    assert counts == {"curl": 4, "python": 6, "json": 7}


# /track


def test_the_request_format_is_older_than_five_days(emulator: Emulator) -> None:
    events = json.loads(_example("json", "Body:").text)
    answer = _send(emulator, "/track", events).json()
    assert answer["status"] == 0
    assert "older than 5 days" in answer["error"]
    del events[0]["properties"]["time"]
    assert _send(emulator, "/track", events).json() == SUCCESS


def test_track_with_curl_is_older_than_five_days(emulator: Emulator) -> None:
    """The page: "Events older than 5 days won't be accepted by /track"; its own is of 2023."""
    assert _curl(emulator, "Example: Track Event with cURL") == "0"
    assert emulator.events() == []


def test_track_with_python(emulator: Emulator) -> None:
    said = _python(emulator, "Example: Track Event with Python")
    assert said == "Status: 200\nResponse: 1\n"
    (event,) = emulator.events()
    assert event["event"] == "Purchase Completed"


def test_an_underscore_in_an_insert_id_is_the_pages(emulator: Emulator) -> None:
    """The page's ids have underscores, which the API reference's alphabet does not hold."""
    _python(emulator, "Example: Track Event with Python")
    assert emulator.insert_ids() == ["purchase_xyz_123"]


def test_batch_tracking(emulator: Emulator) -> None:
    words = "You can send multiple events in a single request:"
    events = json.loads(_example("json", words).text)
    assert _send(emulator, "/track", events).json() == SUCCESS
    assert emulator.events() == events


# /import


def test_import_with_curl(emulator: Emulator) -> None:
    assert json.loads(_curl(emulator, "Use HTTP Basic Auth with your API secret:")) == SUCCESS
    (event,) = emulator.events()
    assert event["properties"]["time"] == 1609459200000


def test_import_with_python(emulator: Emulator) -> None:
    status, response = _python(emulator, "Example: Import with Python").splitlines()
    assert status == "Status: 200"
    assert json.loads(response.removeprefix("Response: ")) == SUCCESS
    assert [e["event"] for e in emulator.events()] == ["Historical Purchase"]


def test_import_without_the_secret() -> None:
    """The page: "Verify your API secret is correct"."""
    with Emulator(variant="page", api_secret="another", project_token="another") as other:
        answer = json.loads(_curl(other, "Use HTTP Basic Auth with your API secret:"))
        assert answer["status"] == 0
        assert "API secret" in answer["error"]
        assert other.events() == []


# /engage


def test_set_profile_properties(emulator: Emulator) -> None:
    assert json.loads(_curl(emulator, "Set Profile Properties")) == SUCCESS
    (profile,) = emulator.profiles()
    assert profile["$distinct_id"] == "user_123"
    assert profile["properties"]["plan"] == "premium"


def test_multiple_operations(emulator: Emulator) -> None:
    for number in (1, 2):
        assert json.loads(_python(emulator, "Example: Multiple Operations")) == SUCCESS
        properties = emulator.profile("user_789")["properties"]
        assert properties["$name"] == "John Smith"
        assert properties["first_seen"] == "2024-01-15"
        assert properties["login_count"] == number
        assert properties["total_revenue"] == pytest.approx(29.99 * number)
        assert properties["recent_purchases"] == ["Premium Plan"] * number


# Identity


def test_identify(emulator: Emulator) -> None:
    """The page: "This merges all events from device_xyz into the user_123 profile"."""
    before = {"event": "Before", "properties": {"token": TOKEN, "distinct_id": "device_xyz"}}
    _send(emulator, "/track", [before])
    assert json.loads(_curl(emulator, "Link an anonymous user to a known user ID:")) == SUCCESS
    user = emulator.user("device_xyz")
    assert user["distinct_id"] == "user_123"
    assert set(user["ids"]) == {"user_123", "device_xyz"}
    assert {e["event"]["event"] for e in user["events"]} == {"Before", "$identify"}


# Best practices


def test_insert_id(emulator: Emulator) -> None:
    """The page: "Mixpanel will reject duplicate events with the same $insert_id"."""
    words = "Include a unique $insert_id for each event to prevent duplicates:"
    event = json.loads(_example("json", words).text)
    for _ in range(3):
        assert _send(emulator, "/track", event).json() == SUCCESS
    assert emulator.events() == [event]


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (
            "By default, Mixpanel uses the request IP for geolocation. "
            "For server-side tracking:Pass the client IP:",
            {"address": "192.168.1.1", "from": "ip"},
        ),
        ("Skip geolocation:", {"address": None, "from": None}),
        (None, {"address": "127.0.0.1", "from": "request"}),
    ],
)
def test_geolocation(emulator: Emulator, words: str | None, address: dict[str, Any]) -> None:
    event: dict[str, Any] = {"properties": {"token": TOKEN, "distinct_id": "u"}}
    if words is not None:
        event = json.loads(_example("json", words).text)
    assert _send(emulator, "/track", [{"event": "A", **event}]).json() == SUCCESS
    (shown,) = emulator.event_details()
    assert shown["geolocation"] == address


def test_batches_of_500(emulator: Emulator) -> None:
    before = (
        "import requests\n"
        "user_actions = [{'event_name': 'Acted', 'user_id': str(n + 1)} for n in range(1234)]"
    )
    _python(emulator, "• Improves throughput", before)
    assert emulator.stats()["events_distinct"] == 1234
    assert [row["events"] for row in emulator.requests()] == [500, 500, 234]


RETRY = "Implement exponential backoff for retries:"


def test_retry_after_429(emulator: Emulator) -> None:
    emulator.faults([{"kind": "rate_limit"}])
    call = (
        f"answer = send_with_retry('{emulator.url}/track', "
        f"[{{'event': 'A', 'properties': {{'token': '{TOKEN}', 'distinct_id': 'u'}}}}])\n"
        "print(answer.status_code)"
    )
    said = _python(emulator, RETRY, after=call)
    assert said == "Rate limited. Waiting 1s...\n200\n"
    assert emulator.stats()["events_distinct"] == 1


def test_no_retry_after_another_error(emulator: Emulator) -> None:
    call = f"print(send_with_retry('{emulator.url}/import', []))"
    said = _python(emulator, RETRY, after=call)
    assert said.startswith("Error: 401 - ")
    assert said.endswith("\nNone\n")


CHECK = "Error Response:"


@pytest.mark.parametrize(
    ("path", "token", "says"),
    [
        ("/track", TOKEN, "Success!\n"),
        ("/track", "bogus", "Error: Invalid token\n"),
        ("/import", TOKEN, "HTTP Error: 401\n"),
    ],
)
def test_check_the_answer(emulator: Emulator, path: str, token: str, says: str) -> None:
    before = (
        f"import requests\nurl = '{emulator.url}{path}'\n"
        f"payload = [{{'event': 'A', 'properties': {{'token': '{token}', 'distinct_id': 'u'}}}}]"
    )
    assert _python(emulator, CHECK, before) == says


def test_answers(emulator: Emulator) -> None:
    success = json.loads(_example("json", "Always check the API response:Success Response:").text)
    error = json.loads(_example("json", "Error Response:").text)
    event = {"event": "A", "properties": {"token": TOKEN, "distinct_id": "u"}}
    assert _send(emulator, "/track", [event]).json() == success
    event["properties"]["token"] = "bogus"
    assert _send(emulator, "/track", [event]).json() == error
