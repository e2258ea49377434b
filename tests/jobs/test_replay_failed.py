"""Failed records sent again, through the command line: the same ids, nothing doubled."""

from __future__ import annotations

import datetime
import decimal
import json
import pathlib
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink.emulator.testing import Emulator
from pipelines import replay_failed
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import NOW_MS, properties, shop, write

GUESTS = MAPPING.replace("distinct_id: user", "distinct_id: {column: user, if_null: guest}")


@pytest.fixture
def replay(server: Emulator, tmp_path: pathlib.Path, monkeypatch, capsys):
    """Runs the command with the first run's failed output as input."""
    monkeypatch.setenv("TEST_API_SECRET", server.api_secret)

    def run(*more: str, mapping: str | None = None) -> tuple[int, str, str, list[dict[str, Any]]]:
        arguments = list(more)
        if mapping is not None:
            (tmp_path / "fixed.yaml").write_text(mapping)
            arguments.append(f"--mapping={tmp_path}/fixed.yaml")
        given = [argument.partition("=")[0] for argument in arguments]
        defaults = (
            f"--input={tmp_path}/failed*.jsonl",
            "--api-secret=env:TEST_API_SECRET",
            f"--endpoint={server.url}",
            "--quota=none",
            f"--failed-output={tmp_path}/again",
        )
        arguments += [d for d in defaults if d.partition("=")[0] not in given]
        code = replay_failed.main(arguments)
        out, err = capsys.readouterr()
        again = [
            json.loads(line)
            for path in sorted(tmp_path.glob("again*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        return code, out, err, again

    return run


def lines(tmp_path: pathlib.Path, *failed: dict[str, Any] | str) -> pathlib.Path:
    path = tmp_path / "failed-x.jsonl"
    texts = [each if isinstance(each, str) else json.dumps(each) for each in failed]
    path.write_text("\n".join(texts) + "\n")
    return path


def test_records_have_the_ids_of_the_first_run(send, replay, server, tmp_path):
    users = [None if i % 5 == 0 else f"u{i}" for i in range(5000)]
    source = write(tmp_path / "a.parquet", shop(5000, user=users), row_group_size=700)
    assert send(source).code == 0
    assert server.stats()["events_distinct"] == 4000
    code, out, err, again = replay(mapping=GUESTS)
    assert code == 0, err
    assert "1,000 read = 1,000 accepted + 0 failed" in out
    assert not again
    assert server.stats()["events_distinct"] == 5000
    # Once more, and the whole file with the fixed mapping: nothing doubles.
    assert replay(mapping=GUESTS)[0] == 0
    assert send(source, mapping=GUESTS).code == 0
    assert server.stats()["events_distinct"] == 5000
    assert len(set(server.insert_ids())) == 5000


def test_records_become_the_very_events_that_the_mended_run_makes(send, replay, server, tmp_path):
    day = datetime.datetime(2024, 1, 2, 3, 4, 5, 678000)
    table = shop(
        1,
        user=[None],
        at=pa.array([day], pa.timestamp("us", "Europe/Berlin")),
        price=pa.array([decimal.Decimal("19.90")], pa.decimal128(10, 2)),
        day=pa.array([datetime.date(2024, 5, 6)]),
        clock=pa.array([datetime.time(3, 4, 5)]),
        took=pa.array([datetime.timedelta(seconds=90)]),
        seen=pa.array([day], pa.timestamp("us")),
        exact=pa.array([1704164645678000123], pa.timestamp("ns")),
        raw=pa.array([b"\xff\x00"]),
        tags=[["a", None]],
        times=pa.array([[day]], pa.list_(pa.timestamp("us"))),
        nested=[{"x": 1, "y": {"z": "é😀"}}],
        mapped=pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        kind=pa.array(["gold"]).dictionary_encode(),
        small=pa.array([0.1], pa.float32()),
        big=pa.array([2**63 + 1], pa.uint64()),
        nothing=pa.nulls(1),
    )
    source = write(tmp_path / "a.parquet", table)
    mapping = MAPPING.replace("{column: at, unit: ms}", "at")
    fixed = GUESTS.replace("{column: at, unit: ms}", "at")
    assert len(send(source, mapping=mapping).failed) == 1
    assert replay(mapping=fixed)[0] == 0
    (replayed,) = properties(server)
    server.reset()
    assert send(source, mapping=fixed).code == 0
    assert properties(server) == [replayed]
    assert list(properties(server)[0]) == list(replayed)


@pytest.mark.parametrize(
    "insert_id", ["insert_id: key\n", "insert_id: [key, at]\n", "insert_id: {from: content}\n"]
)
def test_other_ids_stay_the_same_too(send, replay, server, tmp_path, insert_id):
    table = shop(4, user=[None, "a", None, "b"], key=["k-1", "k-2", "k 3", "k-4"])
    source = write(tmp_path / "a.parquet", table)
    send(source, mapping=MAPPING + insert_id)
    assert replay(mapping=GUESTS + insert_id)[0] == 0
    send(source, mapping=GUESTS + insert_id)
    assert server.stats()["events_distinct"] == 4
    assert len(set(server.insert_ids())) == 4


def test_events_go_unchanged(replay, server, tmp_path):
    given = {"b": None, "a": 1.5, "distinct_id": "u", "time": NOW_MS, "$insert_id": "i-1"}
    event = {"event": "Order", "properties": given}
    lines(tmp_path, {"reason": "refused", "message": "no", "event": event, "http_status": 400})
    assert replay()[0] == 0
    (stored,) = server.events()
    assert stored["properties"] == given
    assert "ip" not in stored["properties"]


def test_events_get_the_token_of_today(replay, server, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", server.project_token)
    properties_ = {"distinct_id": "u", "time": NOW_MS, "$insert_id": "i-1", "token": "old"}
    lines(tmp_path, {"reason": "gave_up", "event": {"event": "e", "properties": properties_}})
    assert replay("--project-token=env:TOKEN")[0] == 0
    assert properties(server) == [{**properties_, "token": server.project_token}]


def test_what_is_refused_again_is_written_again(send, replay, server, tmp_path):
    faults = [
        {
            "kind": "failed_records",
            "records": [{"index": 2, "field": "properties.amount", "message": "bad amount"}],
        }
    ]
    server.faults(faults)
    first = send(write(tmp_path / "a.parquet", shop(5)))
    (failure,) = first.failed
    assert failure["reason"] == "refused"
    assert failure["insert_id"] == failure["event"]["properties"]["$insert_id"]
    server.faults([{**faults[0], "records": [{**faults[0]["records"][0], "index": 0}]}])
    code, out, _, again = replay()
    assert code == 1  # nothing was accepted
    assert "1 read = 0 accepted + 1 failed" in out
    assert again == [failure], "the same line, with its file and row, for another try"
    (tmp_path / "third").mkdir()
    assert replay(f"--input={tmp_path}/again*.jsonl", f"--failed-output={tmp_path}/third/x")[0] == 0
    assert server.stats()["events_distinct"] == 5


def test_a_record_that_fails_again_keeps_its_origin(send, replay, server, tmp_path):
    source = write(tmp_path / "a.parquet", shop(3, user=["a", None, "b"], name=["n", None, "m"]))
    (first,) = send(source).failed
    code, out, _, (again,) = replay(mapping=GUESTS)
    assert code == 1  # nothing was accepted
    assert again["reason"] == "event_null"
    for name in ("file", "row", "insert_id", "record"):
        assert again[name] == first[name]
    assert "event_null  1" in out
    assert f"{source}, row 1" in out


class TestOnly:
    def test_other_reasons_are_skipped(self, send, replay, server, tmp_path):
        table = shop(4, user=[None, "null", "a", "b"])
        send(write(tmp_path / "a.parquet", table))
        code, out, _, again = replay("--only=distinct_id_null", mapping=GUESTS)
        assert code == 0
        assert not again
        assert server.stats()["events_distinct"] == 3
        assert "lines skipped" in out

    def test_an_unknown_reason(self, replay, tmp_path, server):
        lines(tmp_path, {"reason": "refused", "event": {}})
        code, _, err, _ = replay("--only=refused,distinct_id_nul")
        assert code == 2
        assert "Did you mean 'distinct_id_null'?" in err


class TestPlaceholders:
    """What JSON cannot hold must not be sent as something else."""

    def test_nan_fails_again(self, send, replay, server, tmp_path):
        send(write(tmp_path / "a.parquet", shop(1, amount=[float("nan")])))
        code, _, _, (again,) = replay(mapping=MAPPING)
        assert code == 1  # nothing was accepted
        assert again["reason"] == "non_finite_number"
        assert "non_finite: drop" in again["message"]
        assert server.stats()["events_distinct"] == 0

    @pytest.mark.parametrize("fix", ["non_finite: drop\n", "exclude: [amount]\n"])
    def test_unless_the_mapping_says_what_to_do(self, send, replay, server, tmp_path, fix):
        source = write(tmp_path / "a.parquet", shop(1, amount=[float("nan")]))
        send(source)
        assert replay(mapping=MAPPING + fix)[3] == []
        (replayed,) = properties(server)
        assert "amount" not in replayed
        server.reset()
        send(source, mapping=MAPPING + fix)
        assert properties(server) == [replayed]

    def test_text_that_is_not_utf8_fails_again(self, send, replay, server, tmp_path):
        bad = pa.array([b"\xff\xfe"]).view(pa.string())
        send(write(tmp_path / "a.parquet", shop(1, note=bad)))
        assert [f["reason"] for f in replay(mapping=MAPPING)[3]] == ["unreadable_value"]
        assert replay(mapping=MAPPING + "exclude: [note]\n")[1].count("1 accepted + 0 failed")

    def test_a_value_mended_by_hand(self, send, replay, server, tmp_path):
        (failure,) = send(write(tmp_path / "a.parquet", shop(1, amount=[float("nan")]))).failed
        failure["record"]["amount"] = 12.5
        for path in tmp_path.glob("failed*.jsonl"):
            path.unlink()
        lines(tmp_path, failure)
        assert replay(mapping=MAPPING)[0] == 0
        assert properties(server)[0]["amount"] == 12.5

    def test_text_as_time_stays_text(self, send, replay, server, tmp_path):
        send(write(tmp_path / "b.parquet", shop(2)).parent / "b.parquet")
        write(tmp_path / "a.parquet", shop(1, at=["2024-01-02"]))
        send(f"{tmp_path}/*.parquet")
        assert [f["reason"] for f in replay(mapping=MAPPING)[3]] == ["time_is_text"]


class TestLines:
    def test_a_malformed_line_is_kept_and_the_others_are_sent(self, replay, server, tmp_path):
        event = {"event": "e", "properties": {"distinct_id": "u", "time": NOW_MS}}
        bad = '{"reason": "refused", "event": {"eve'
        lines(tmp_path, {"reason": "refused", "event": event}, bad, "", "[]")
        code, out, _, again = replay()
        assert code == 1, "a line was not read: the run must not look whole"
        assert "3 read = 1 accepted + 2 failed" in out
        assert [f["reason"] for f in again] == ["line_unreadable"] * 2
        assert {f["record"] for f in again} == {bad, "[]"}
        assert server.stats()["events_distinct"] == 1

    def test_failures_that_hold_nothing_stay_failures(self, replay, tmp_path):
        unreadable = {"reason": "file_unreadable", "message": "broken", "file": "f.parquet"}
        lines(tmp_path, unreadable)
        code, _, _, (again,) = replay()
        assert code == 1  # nothing was accepted
        assert again["reason"] == "file_unreadable"
        assert again["message"] == "broken"

    def test_an_event_that_is_none(self, replay, tmp_path):
        empty = {"event": "e", "properties": {"$insert_id": "i"}}
        for event in ({"event": 3}, {"event": "e", "properties": []}, empty):
            lines(tmp_path, {"reason": "refused", "event": event})
            (again,) = replay()[3]
            assert again["reason"] == "not_an_event"

    def test_a_large_file_is_read_in_parts(self, replay, server, tmp_path):
        def line(i: int) -> dict[str, Any]:
            at = {"distinct_id": f"u{i}", "time": NOW_MS, "$insert_id": f"i-{i}"}
            return {"reason": "gave_up", "event": {"event": "e", "properties": at}}

        lines(tmp_path, *map(line, range(20_001)))
        code, _, err, _ = replay()
        assert code == 0, err
        assert server.stats()["events_distinct"] == 20_001
        assert server.stats()["requests_by_endpoint"] == {"/import": {"200": 11}}


class TestBadSettings:
    """One sentence on stderr, exit code 2, and nothing sent."""

    def run(self, replay, server, *more: str) -> str:
        code, _, err, _ = replay(*more)
        assert code == 2
        assert err.count("\n") == 2  # the sentence, and its code
        assert server.stats()["requests"] == 0
        return err

    def test_no_mapping_for_records(self, send, replay, server, tmp_path):
        write(tmp_path / "a.parquet", shop(1, user=[None]))
        send(tmp_path / "a.parquet")
        server.reset()
        assert "Give --mapping" in self.run(replay, server)

    def test_no_failed_records(self, replay, server, tmp_path):
        lines(tmp_path, {"event": "e", "properties": {}})
        assert "does not begin with a failed record" in self.run(replay, server)

    def test_parquet(self, replay, server, tmp_path):
        write(tmp_path / "a.parquet", shop(1))
        err = self.run(replay, server, f"--input={tmp_path}/a.parquet")
        assert "does not begin with a failed record" in err

    def test_no_file(self, replay, server):
        assert "No file matches" in self.run(replay, server)

    def test_no_input(self, replay, server):
        assert "--input is missing" in self.run(replay, server, "--input=")

    def test_output_over_input(self, replay, server, tmp_path):
        lines(tmp_path, {"reason": "refused", "event": {}})
        assert "write over the input" in self.run(
            replay, server, f"--failed-output={tmp_path}/failed"
        )

    def test_hashing_again(self, replay, server, tmp_path):
        lines(tmp_path, {"reason": "refused", "event": {}})
        assert "hashes already" in self.run(replay, server, "--hash-properties=user")

    def test_a_misspelt_option(self, replay, server, tmp_path):
        lines(tmp_path, {"reason": "refused", "event": {}})
        assert "did you mean --only?" in self.run(replay, server, "--onyl=refused")


def test_dropped_properties_are_dropped(send, replay, server, tmp_path):
    send(write(tmp_path / "a.parquet", shop(2, user=["a", None], note=["x", "secret"])))
    event = {"event": "e", "properties": {"distinct_id": "u", "time": NOW_MS, "note": "secret"}}
    with (tmp_path / "failed-y.jsonl").open("w") as more:
        more.write(json.dumps({"reason": "refused", "event": event}))
    assert replay("--drop-properties=note", mapping=GUESTS)[0] == 0
    assert [p.get("note") for p in properties(server)] == ["x", None, None]


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        replay_failed.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for option in ("--input", "--only", "--mapping", "--failed-output"):
        assert option in out
