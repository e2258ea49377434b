"""npm's `mixpanel`, Mixpanel's own library for Node: a script makes every call of it."""

import json
import os
import subprocess
from pathlib import Path

from mixpanel_sink.emulator.testing import Emulator

NODE = Path(__file__).parent / "node"


def test_every_call(emulator: Emulator) -> None:
    assert (NODE / "node_modules/mixpanel").is_dir(), (
        "the library is not installed: run `make node-clients`"
    )
    arguments = {
        "host": emulator.url.removeprefix("https://"),
        "token": emulator.project_token,
        "secret": emulator.api_secret,
    }
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}
    environment = {name: value for name, value in os.environ.items() if name not in proxies}
    done = subprocess.run(
        ["node", str(NODE / "calls.cjs"), json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment, "NODE_EXTRA_CA_CERTS": emulator.certificate},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["calls"]) == 31
    assert set(said["failed"]) == {name for name in said["calls"] if name.startswith("wrong: ")}
    assert "Invalid token" in said["failed"]["wrong: a token"]

    counts = emulator.counts("day")["events"]
    names = ("track", "track verbose", "located", "track_batch", "import", "import_batch")
    assert [sum(counts[name]) for name in names] == [1, 1, 1, 120, 1, 120]
    assert sum(counts["$create_alias"]) == 1
    assert "old" not in counts
    assert "stranger" not in counts
    (located,) = emulator.event_details(event="located")
    assert located["geolocation"] == {"address": "127.0.0.1", "from": "request"}
    (tracked,) = emulator.event_details(event="track")
    assert tracked["geolocation"] == {"address": None, "from": None}
    assert emulator.user("new")["distinct_id"] == "old"

    first, second = emulator.profiles()
    transactions = [{"$time": "2020-09-13T12:26:40.000Z", "$amount": 9.5}]
    assert first["properties"] == {
        **{"a": 1, "b": 2, "n": 4, "l": ["y"], "m": ["z"]},
        "$transactions": transactions,
    }
    assert second["properties"] == {"a": 1, "$transactions": []}
    operations = emulator.profile("q")["operations"]
    assert operations[0]["geolocation"] == "9.9.9.9"
    assert emulator.profile("gone")["properties"] is None
    (group,) = emulator.groups()
    assert group["properties"] == {"a": 1, "l": ["y"]}
