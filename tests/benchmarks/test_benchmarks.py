"""The benchmarks count right and deliver everything. Nothing timed is asserted."""

from __future__ import annotations

import contextlib
import gzip
import json
import pathlib
import sys
import urllib.error
import urllib.request
import zlib

import pytest

from benchmarks import (
    data,
    formats,
    paths,
    quota,
    registry,
    report,
    runs,
    small_files,
    types,
    verifying,
)
from benchmarks.counting import count_events
from benchmarks.serving import Server

EVENTS = 20_000


def _events(count: int) -> list[dict]:
    tricky = '\n,{"event":"no"}\n] "properties": {} \\" \u2028 🦊'
    return [
        {"event": f"e{i}", "properties": {"$insert_id": f"id-{i}", "text": tricky, "none": None}}
        for i in range(count)
    ]


def _compact(events: list[dict]) -> list[str]:
    return [json.dumps(event, separators=(",", ":")) for event in events]


FORMS = {
    "array, one a line": lambda events: "[" + "\n,".join(_compact(events)) + "\n]",
    "ndjson": lambda events: "".join(line + "\n" for line in _compact(events)),
    "ndjson without a last line end": lambda events: "\n".join(_compact(events)),
    "requests.post(json=)": json.dumps,
    "compact array": lambda events: "[" + ",".join(_compact(events)) + "]",
    "indented array": lambda events: json.dumps(events, indent=1),
    "other order of keys": lambda events: json.dumps([dict(reversed(e.items())) for e in events]),
    "ndjson with spaces": lambda events: "\n".join(json.dumps(event) for event in events),
    "key named like an event's": lambda events: json.dumps(
        [{"event": "x", "properties": {"event": 1, "items": [event]}} for event in events]
    ),
}


@pytest.mark.parametrize("count", [1, 2, 2000])
@pytest.mark.parametrize("form", FORMS)
def test_counts_every_form(form: str, count: int) -> None:
    assert count_events(FORMS[form](_events(count)).encode()) == count


def test_empty_array_holds_nothing() -> None:
    assert count_events(b"[]") == 0


@pytest.mark.parametrize("body", [b"", b"nothing", b'[{"event":"x"', b"[1, 2]"])
def test_what_is_no_list_of_events_is_refused_or_empty(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert count_events(body) == 0


def _post(url: str, body: bytes, **headers: str) -> dict:
    request = urllib.request.Request(f"{url}/import?strict=1", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_server_counts_bodies_and_ids() -> None:
    raw = FORMS["ndjson"](_events(2000)).encode()
    with Server("--ids") as server:
        gzipped = {"Content-Encoding": "gzip"}
        assert _post(server.url, gzip.compress(raw), **gzipped)["num_records_imported"] == 2000
        assert _post(server.url, raw * 20)["num_records_imported"] == 40_000  # beyond its buffer
        stats = server.stats()
        assert (stats.events, stats.requests, stats.distinct_ids) == (42_000, 2, 2000)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            _post(server.url, zlib.compress(raw), **gzipped)
        server.reset()
        assert server.stats().events == 0


def test_server_holds_its_quota() -> None:
    with Server("--quota=2/60") as server:
        for _ in range(2):
            _post(server.url, b'[{"event":"x","properties":{}}]')
        with pytest.raises(urllib.error.HTTPError, match="429"):
            _post(server.url, b'[{"event":"x","properties":{}}]')
        stats = server.stats()
    assert (stats.events, stats.status_429) == (2, 1)


def test_windows() -> None:
    assert quota.most_in_window([0.0, 0.1, 1.0, 1.05], 1.0) == 3
    assert quota.most_in_window([], 1.0) == 0
    assert quota.reuse_seconds([0.0, 0.0, 2.0, 4.0], 2) == 3.0
    assert quota.reuse_seconds([0.0], 2) is None


def test_report_replaces_its_own_section_only(tmp_path) -> None:
    path = tmp_path / "RESULTS.md"
    report.put(path, "one", "first")
    report.put(path, "two", "other")
    report.put(path, "one", "third")
    text = path.read_text()
    assert "first" not in text
    assert text.index("third") < text.index("other")


@pytest.mark.parametrize("name", ["sink", "best_loop", "naive"])
def test_delivers_every_event_once(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.getbasetemp() / "benchmarks-cache"
    monkeypatch.setattr(paths, "CACHE", folder)
    monkeypatch.setenv("BENCHMARKS_CACHE", str(folder))
    parquet = data.parquet_file(EVENTS)
    with Server("--ids") as server:
        command = registry.BY_NAME[name].command(parquet, server.url)
        run = runs.run(command, EVENTS, server, timeout=60)
    assert run.failure == ""
    assert run.stats.distinct_ids == EVENTS
    assert run.stats.requests == EVENTS / 2000
    assert run.cost.cpu > 0
    assert run.cost.peak_memory > 10_000_000


def test_small_files_are_compared_with_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["small_files", "--files=30", "--rows=100", "--turns=1"])
    assert small_files.main() == 0
    one, many = capsys.readouterr().out.splitlines()[-2:]
    assert [cell.strip() for cell in one.split("|")[1:3]] == ["1", "3,000"]
    assert [cell.strip() for cell in many.split("|")[1:3]] == ["30", "100"]
    assert one.split("|")[-2] == many.split("|")[-2], "as many requests"


def test_lost_events_are_no_figure() -> None:
    with Server() as server:
        run = runs.run(["true"], 10, server)
        assert run.failure == "delivered 0 of 10 events"
        assert "exit code 3" in runs.run(["sh", "-c", "exit 3"], 10, server).failure
        assert "not done" in runs.run(["sleep", "60"], 10, server, timeout=0.2).failure


def test_costs_hold_descendants_that_nobody_waited_for() -> None:
    burn = "python3 -c 'while True: pass' & sleep 0.5"
    with Server() as server:
        run = runs.run(["sh", "-c", burn], 0, server)
    assert run.failure == ""
    assert run.cost.cpu > 0.1


def test_types_that_are_encoded_value_by_value_are_documented() -> None:
    ways = {name: way for name, _, way in types.costs(50)}
    by_value = [name for name, way in ways.items() if way != types.COLUMNAR]
    assert by_value == [
        "decimal, 256 bits",
        "list of map",
        "list view",
        "decimal of negative scale",
        "extension type",
    ]
    assert set(ways.values()) == {types.COLUMNAR, "value by value"}
    text = (paths.REPOSITORY / "docs" / "encoding.md").read_text()
    _, _, table = text.partition("**value by value:**")
    for name in ("map inside a list", "list view", "negative scale or 256", "extension type"):
        assert name in table


def test_every_kind_of_dict_is_encoded_together() -> None:
    found = list(types.record_costs(50))
    assert [name for name, _, _ in found] == [*types.RECORDS, types.EVENTS]
    assert all(together > 0 and singly > 0 for _, together, singly in found)


def test_a_proof_is_measured(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    cost = verifying.measured(data.parquet_file(300), 300, tmp_path)
    assert cost.cpu > 0
    assert cost.peak_memory > 10**7
    exported = verifying.exported_file(data.parquet_file(300))
    exported.write_bytes(exported.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(SystemExit, match=r"1 of 300 events is missing"):
        verifying.measured(data.parquet_file(300), 300, tmp_path)


def test_each_format_is_read_whole(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    formats.prepare((formats.FEW,))
    for kind in formats.READ:
        assert formats.read(kind, formats.FEW)[0] == formats.FEW, kind.title
    with Server() as server:
        assert formats.imported(formats.READ[5], formats.FEW, server) > 0
