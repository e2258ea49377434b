"""From one Mixpanel project to another, emulator to emulator, by the command line."""

from __future__ import annotations

import datetime
import gzip
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.mixpanel_project import QUERIES, MixpanelProject, source_at
from mixpanel_sink.settings.credentials import ApiSecret, ServiceAccount
from tests.cli.conftest import Call

SECRET = "source-secret-0123456789"
EVENTS = 800


def event(number: int) -> dict[str, Any]:
    at = datetime.datetime(2024, 5, 6 + number % 2, 12, tzinfo=datetime.timezone.utc)
    properties = {
        "distinct_id": f"u{number % 50}",
        "time": int(at.timestamp() * 1000) + number,
        "$insert_id": f"i{number}",
        "$device_id": f"d{number % 50}",
        "n": number if number % 2 else str(number),
        "tags": ["a", number],
    }
    return {"event": "Visit" if number % 5 else "Order", "properties": properties}


@pytest.fixture(scope="module")
def old() -> Iterator[Emulator]:
    """The project that is left, with its export's own quota."""
    with Emulator(api_secret=SECRET) as running:
        sent = requests.post(
            f"{running.url}/import?strict=1", json=[event(n) for n in range(EVENTS)],
            auth=(SECRET, ""), timeout=30,
        )  # fmt: skip
        assert sent.status_code == 200, sent.text
        yield running


@pytest.fixture
def place(
    old: Emulator, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    monkeypatch.setenv("MIXPANEL_SOURCE_API_SECRET", SECRET)
    return tmp_path


def address(old: Emulator, more: str = "") -> str:
    return f"mixpanel://12345?from=2024-05-06&to=2024-05-07&endpoint={old.url}{more}"


def ids(mixpanel: Emulator) -> set[str]:
    return {each["properties"]["$insert_id"] for each in mixpanel.events(10_000)}


def test_one_command_and_a_proof(
    call: Call, place: pathlib.Path, old: Emulator, mixpanel: Emulator
) -> None:
    to = f"--endpoint={mixpanel.url}"
    done = call("import", address(old), to, "--quota=none")
    assert done.code == 0, done.out + done.err
    assert "800 read = 800 accepted + 0 failed" in done.out
    assert SECRET not in done.out + done.err
    assert ids(mixpanel) == {f"i{n}" for n in range(EVENTS)}  # kept
    assert old.stats()["requests_by_endpoint"]["/api/2.0/export"] == {"200": 2}  # within the quota
    proven = call("verify", address(old), to)
    assert proven.code == 0, proven.out + proven.err


def test_with_a_mapping_ids_are_kept_or_renewed(
    call: Call, place: pathlib.Path, old: Emulator, mixpanel: Emulator
) -> None:
    orders = address(old, "&event=Order")
    made = call("init", orders, "--from", "mixpanel", "-o", "kept.yaml")
    assert made.code == 0, made.err
    kept = (place / "kept.yaml").read_text()
    renewed = kept.replace("insert_id: $insert_id", "insert_id: {from: content}")
    renewed = renewed.replace("drop: [", "drop: [$insert_id, ")
    (place / "renewed.yaml").write_text(renewed)
    checked = call("check", orders, "--mapping", "kept.yaml")
    assert checked.code == 0, checked.out + checked.err
    for name in ("kept", "renewed"):
        mixpanel.reset(quota="none")
        with_it = (orders, f"--endpoint={mixpanel.url}", "--mapping", f"{name}.yaml")
        done = call("import", *with_it, "--quota=none")
        assert "160 read = 160 accepted + 0 failed" in done.out, done.err
        assert (ids(mixpanel) == {f"i{n}" for n in range(0, EVENTS, 5)}) is (name == "kept")
        assert call("verify", *with_it).code == 0
    properties = mixpanel.events(1)[0]["properties"]
    assert properties["$device_id"]
    assert "mp_processing_time_ms" not in json.loads(json.dumps(properties))


def test_files_of_an_export_in_seconds_or_milliseconds(
    call: Call, place: pathlib.Path, old: Emulator, mixpanel: Emulator
) -> None:
    days = ("--from=2024-05-06", "--to=2024-05-06", f"--endpoint={old.url}")
    done = call("export", *days, "--api-secret=env:MIXPANEL_SOURCE_API_SECRET", "-o", "ours")
    assert done.code == 0, done.err
    theirs = requests.get(  # as a script of somebody's own would: in seconds
        f"{old.url}/api/2.0/export?from_date=2024-05-06&to_date=2024-05-06",
        auth=(SECRET, ""), timeout=30,
    )  # fmt: skip
    (place / "theirs.jsonl").write_bytes(theirs.content)
    unpacked = gzip.decompress((place / "ours-2024-05-06.jsonl.gz").read_bytes())
    assert len(unpacked.splitlines()) == len(theirs.content.splitlines()) == 400
    for name, unit in (("ours-2024-05-06.jsonl.gz", "ms"), ("theirs.jsonl", "s")):
        mixpanel.reset(quota="none")
        to = f"--endpoint={mixpanel.url}"
        made = call("init", name, "--from", "mixpanel", "-o", f"{unit}.yaml")
        assert f"unit: {unit}}}" in made.out
        done = call("import", name, "-m", f"{unit}.yaml", to, "--quota=none")
        assert "400 read = 400 accepted + 0 failed" in done.out, done.err
        assert call("verify", name, to).code == 0  # what was sent is raw events all the same


def test_parquet_of_an_export(
    call: Call, place: pathlib.Path, old: Emulator, mixpanel: Emulator
) -> None:
    days = ("--from=2024-05-06", "--to=2024-05-06", f"--endpoint={old.url}", "--parquet")
    done = call("export", *days, "--api-secret=env:MIXPANEL_SOURCE_API_SECRET", "-o", "ours")
    assert done.code == 0, done.err
    wrong = call("init", "ours-2024-05-06.parquet", "--from", "mixpanel")
    assert wrong.code == 2
    assert "It looks like one of mixpanel-parquet." in wrong.err
    assert call("init", "ours-2024-05-06.parquet", "--from", "mixpanel-parquet").code == 0
    with_it = ("ours-2024-05-06.parquet", "-m", "mapping.yaml", f"--endpoint={mixpanel.url}")
    done = call("import", *with_it, "--quota=none")
    assert "400 read = 400 accepted + 0 failed" in done.out, done.out + done.err
    assert ids(mixpanel) == {f"i{n}" for n in range(0, EVENTS, 2)}
    assert call("verify", *with_it).code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mixpanel://1", "Write the project and its days as"),
        ("mixpanel://1?from=2024-05-06&to=May", "'May' is not a day"),
        ("mixpanel://1?from=2024-05-06&to=2024-05-01", "is before the first"),
        ("mixpanel://1?from=2024-05-06&to=2024-05-07&events=a", "Did you mean 'event'?"),
        ("mixpanel://1?from=2024-05-06&to=2024-05-07&region=mars", "us, eu"),
        ("mixpanel://1?from=2024-05-06&to=2024-05-07&api_secret=abc", "must be a reference"),
    ],
)
def test_an_address_that_is_wrong_is_one_sentence(
    call: Call, place: pathlib.Path, given: str, message: str
) -> None:
    done = call("import", given, "--endpoint=http://127.0.0.1:9")
    assert done.code == 2
    assert message in done.err


def test_what_the_source_refuses_is_said_of_the_source(
    call: Call, place: pathlib.Path, old: Emulator, mixpanel: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MIXPANEL_SOURCE_API_SECRET", "wrong")
    done = call("import", address(old), f"--endpoint={mixpanel.url}")
    assert done.code != 0
    assert "mixpanel://12345?from=2024-05-06&to=2024-05-07" in done.err
    assert "does not accept the API secret" in done.err
    assert mixpanel.stats()["requests"] == 0
    monkeypatch.delenv("MIXPANEL_SOURCE_API_SECRET")
    done = call("import", address(old), f"--endpoint={mixpanel.url}")
    assert done.code == 2
    assert "which are not those of the import" in done.err


def test_credentials_and_residency_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("API_SECRET", "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_SECRET"):
        monkeypatch.delenv(f"MIXPANEL_SOURCE_{kind}", raising=False)

    def project(more: str) -> MixpanelProject:
        table = source_at(f"mixpanel://77?from=2024-01-01&to=2024-12-31{more}", {}).format.table
        assert isinstance(table, MixpanelProject)
        return table

    given = project("&region=eu&api_secret=env:OLD")
    assert given.credentials == ApiSecret("env:OLD")
    assert given.region == "eu"
    assert "OLD" not in given.name
    monkeypatch.setenv("MIXPANEL_SOURCE_SERVICE_ACCOUNT", "robot")
    with pytest.raises(SettingError, match="needs mixpanel:// service_account_secret"):
        project("")
    monkeypatch.setenv("MIXPANEL_SOURCE_SERVICE_ACCOUNT_SECRET", "hidden")
    made = project("")
    reference = "env:MIXPANEL_SOURCE_SERVICE_ACCOUNT_SECRET"
    assert made.credentials == ServiceAccount("robot", reference, "77")
    assert "hidden" not in repr(made)
    assert len(list(made.parts(None))) <= QUERIES  # a year, well below 60 an hour
