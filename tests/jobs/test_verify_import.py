"""An import, read back from the emulator: equal, and every way in which it may not be."""

from __future__ import annotations

import base64
import csv
import json
import pathlib
import subprocess
import sys
import urllib.request
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from pyarrow import orc

from mixpanel_sink.jobs import import_files
from pipelines import verify_import
from tests.inspect.verify.conftest import Reply, Scripted, lines, scripted  # noqa: F401
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import NOW_MS, shop, write

DAY_MS = 86_400_000


@pytest.fixture
def check(server, tmp_path: pathlib.Path, monkeypatch, capsys):
    monkeypatch.setenv("TEST_API_SECRET", server.api_secret)
    (tmp_path / "m.yaml").write_text(MAPPING)

    def run(source: object, *more: str) -> tuple[int, str, str]:
        given = [argument.partition("=")[0] for argument in more]
        defaults = (
            f"--mapping={tmp_path}/m.yaml",
            "--api-secret=env:TEST_API_SECRET",
            f"--endpoint={server.url}",
        )
        rest = [d for d in defaults if d.partition("=")[0] not in given]
        code = verify_import.main([f"--input={source}", *rest, *more])
        return code, *capsys.readouterr()

    return run


def number(out: str, name: str) -> int:
    (line,) = (line for line in out.splitlines() if line.startswith(f"  {name} "))
    return int(line.split()[-1].replace(",", ""))


def days(rows: int, each: int) -> pa.Table:
    """Events of several days, `each` of a day, and of two names."""
    return shop(
        rows,
        name=[("Order", "View")[i % 2] for i in range(rows)],
        at=[NOW_MS + i // each * DAY_MS + i % each for i in range(rows)],
    )


def post(server, *events: dict[str, Any]) -> None:
    """Events that did not come from the input."""
    request = urllib.request.Request(
        f"{server.url}/import?strict=1",
        json.dumps(events).encode(),
        {"Content-Type": "application/json"},
    )
    token = f"{server.api_secret}:".encode()
    request.add_header("Authorization", f"Basic {base64.b64encode(token).decode()}")
    urllib.request.urlopen(request).close()


def event(server, place: int = 0, **changes: Any) -> dict[str, Any]:
    (stored,) = server.events(limit=1, offset=place)
    return {"event": stored["event"], "properties": stored["properties"] | changes}


class TestEqual:
    def test_several_days_sent_twice(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", days(5000, 1000), row_group_size=700)
        send(source)
        send(source)
        code, out, err = check(source)
        assert code == 0, out + err
        assert "2024-01-01 to 2024-01-05 (UTC)" in out
        assert number(out, "the same on both sides") == 5000
        assert number(out, "repeated in the export, one to Mixpanel") == 5000
        first = "Mixpanel holds all 5,000 events of the input, each once and unaltered.\n"
        assert out.startswith(first)

    def test_all_types_long_texts_and_addresses(self, send, check, server, tmp_path):
        table = shop(
            3,
            client=["1.2.3.4", None, "2001:db8::1"],
            long=["ü" * 300, "x" * 300, "short"],
            tags=[["a", None], [], None],
            nested=[{"x": 1, "y": None}, None, {"x": 2, "y": "ü" * 200}],
            exact=pa.array([2**63, 2**53 + 1, 0], pa.uint64()),
            small=pa.array([0.1, 1e30, -0.0], pa.float32()),
            **{"$city": ["Wien", None, "Graz"]},
        )
        mapping = MAPPING + "ip: client\n"
        (tmp_path / "m.yaml").write_text(mapping)
        source = write(tmp_path / "a.parquet", table)
        send(source, mapping=mapping)
        code, out, _ = check(source)
        assert code == 0, out

    @pytest.mark.parametrize("insert_id", ["", "insert_id: {from: content}\n", "insert_id: user\n"])
    def test_equal_rows(self, send, check, server, tmp_path, insert_id):
        table = shop(100, user=["u"] * 100, at=[NOW_MS] * 100, amount=[1.0] * 100)
        source = write(tmp_path / "a.parquet", table)
        (tmp_path / "m.yaml").write_text(MAPPING + insert_id)
        send(source, mapping=MAPPING + insert_id)
        code, out, _ = check(source)
        assert code == (1 if insert_id else 0), out
        assert number(out, "with an $insert_id that others have") == (99 if insert_id else 0)
        if insert_id:
            assert out.startswith("99 of 100 records are lost, because others of the input have ")

    def test_records_that_are_no_events_are_said(self, send, check, tmp_path):
        source = write(tmp_path / "a.parquet", shop(10, user=[None, *"abcdefghi"]))
        send(source)
        code, out, _ = check(source)
        assert code == 0
        assert "distinct_id_null  1" in out

    def test_privacy_token_and_service_account(self, send, check, server, tmp_path, monkeypatch):
        monkeypatch.setenv("TOKEN", server.project_token)
        monkeypatch.setenv("KEY", "k")
        source = write(tmp_path / "a.parquet", shop(10))
        more = ("--project-token=env:TOKEN", "--hash-properties=user", "--hash-key=env:KEY")
        more = (*more, "--drop-properties=amount")
        send(source, *more)
        assert check(source, *more)[0] == 0
        assert check(source)[0] == 1

    def test_a_429_is_waited_for(self, send, check, server, tmp_path, caplog):
        source = write(tmp_path / "a.parquet", days(20, 10))
        send(source)
        server.faults(
            [{"kind": "rate_limit", "retry_after": "0.2", "path": "/api/2.0/export"}] * 2
            + [{"kind": "truncate", "path": "/api/2.0/export"}]
        )
        code, out, err = check(source)
        assert code == 0, out + err
        assert not server.remaining_faults()
        assert number(out, "repeated in the export, one to Mixpanel") == 0

    def test_events_of_other_names_are_not_its_business(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(5))
        send(source)
        other = event(server, **{"$insert_id": "other"})
        post(server, {**other, "event": "Signed Up"})
        assert check(source)[0] == 0
        code, out, _ = check(source, "--all-events")
        assert code == 1
        assert number(out, "unexpected in Mixpanel") == 1

    def test_merged_users(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(3))
        send(source)
        ids = {"$anon_id": "u1", "$identified_id": "known", "distinct_id": "known"}
        post(
            server,
            {"event": "$identify", "properties": {**ids, "time": NOW_MS, "$insert_id": "id"}},
        )
        code, out, _ = check(source)
        assert code == 0, out

    def test_nothing_to_compare(self, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(0))
        code, out, _ = check(source)
        assert code == 0
        assert "nothing to compare" in out


class TestSources:
    """Every format goes through the same proof."""

    ROWS = 30

    def records(self) -> list[dict[str, Any]]:
        return [
            {
                "name": "Order",
                "user": f"u{i}",
                "at": f"2024-01-0{1 + i % 3}T10:00:{i:02}Z",
                "note": f' "{i}", ü\n',
                "amount": i / 4,
            }
            for i in range(self.ROWS)
        ]

    def write(self, path: pathlib.Path) -> str:
        records = self.records()
        if path.suffix == ".csv":
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, list(records[0]))
                writer.writeheader()
                writer.writerows(records)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        elif path.suffix == ".avro":
            fields = [{"name": n, "type": "string"} for n in ("name", "user", "at", "note")]
            fields.append({"name": "amount", "type": "double"})
            schema = {"type": "record", "name": "Order", "fields": fields}
            with open(path, "wb") as binary:
                fastavro.writer(binary, fastavro.parse_schema(schema), records)
        else:
            orc.write_table(pa.Table.from_pylist(records), path)
        return str(path)

    @pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".avro", ".orc"])
    @pytest.mark.parametrize("hide", [False, True])
    def test_each_format(self, send, check, server, tmp_path, suffix, hide):
        source = self.write(tmp_path / f"events{suffix}")
        mapping = "event: name\ndistinct_id: user\ntime: {column: at, unit: iso8601}\n"
        (tmp_path / "m.yaml").write_text(mapping)
        privacy = ("--hash-properties=user", "--drop-properties=note") if hide else ()
        sent = send(source, *privacy, mapping=mapping, module=import_files)
        assert sent.code == 0, sent.err
        code, out, err = check(source, *privacy)
        assert code == 0, out + err
        assert out.startswith(f"Mixpanel holds all {self.ROWS} events of the input")
        stored = [event(server, i) for i in range(self.ROWS)]
        server.reset()
        post(server, *stored[1:])
        code, out, _ = check(source, *privacy)
        assert code == 1
        assert out.startswith(f"1 of {self.ROWS} events is missing; run the import again.")


class TestNotEqual:
    def test_missing(self, send, check, server, tmp_path):
        write(tmp_path / "a.parquet", days(300, 100))
        write(tmp_path / "b.parquet", shop(40, at=[NOW_MS] * 40))
        send(tmp_path / "a.parquet")
        code, out, _ = check(f"{tmp_path}/*.parquet", f"--report-dir={tmp_path}/report")
        assert code == 1
        assert out.startswith("40 of 340 events are missing; run the import again.\n")
        assert number(out, "missing in Mixpanel") == 40
        assert number(out, "the same on both sides") == 300
        assert "Missing, the first 20" in out
        assert out.count("\n  2024-01-01 ") == 21, "20 events and a line of counts"
        missing = read_lines(tmp_path / "report/missing.jsonl")
        assert len({each["insert_id"] for each in missing}) == 40
        assert all(each["day"] == "2024-01-01" and each["event"] == "Order" for each in missing)
        assert read_lines(tmp_path / "report/altered.jsonl") == []
        with open(tmp_path / "report/counts.csv") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["day", "event", "input", "mixpanel"]
        assert ["2024-01-01", "Order", "90", "50"] in rows
        assert ["2024-01-03", "View", "50", "50"] in rows

    def test_unexpected(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(5))
        send(source)
        post(server, *(event(server, **{"$insert_id": f"other-{i}"}) for i in range(25)))
        code, out, _ = check(source, f"--report-dir={tmp_path}/report")
        assert code == 1
        assert out.startswith("25 events in Mixpanel are not in the input; verify with the files ")
        assert number(out, "unexpected in Mixpanel") == 25
        assert "Unexpected, the first 20" in out
        assert "other-3 Order" in out
        found = {each["insert_id"] for each in read_lines(tmp_path / "report/unexpected.jsonl")}
        assert found == {f"other-{i}" for i in range(25)}

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"amount": 99.5}, "amount: 0.0 in the input, 99.5 in Mixpanel"),
            ({"more": "x"}, 'more: nothing in the input, "x" in Mixpanel'),
            ({"distinct_id": "v"}, 'distinct_id: "u0" in the input, "v" in Mixpanel'),
            ({"time": NOW_MS + 5000}, f"time: {NOW_MS} in the input, {NOW_MS + 5000} in Mixpanel"),
        ],
    )
    def test_altered(self, send, check, server, tmp_path, changes, said):
        source = write(tmp_path / "a.parquet", shop(5))
        send(source)
        changed = event(server, **changes)
        others = [event(server, i) for i in range(1, 5)]
        server.reset()
        post(server, changed, *others)
        code, out, _ = check(source, f"--report-dir={tmp_path}/report")
        assert code == 1
        assert out.startswith("1 of 5 events is different in Mixpanel; look at the differences ")
        assert number(out, "altered") == 1
        assert number(out, "the same on both sides") == 4
        assert said in out
        (line,) = read_lines(tmp_path / "report/altered.jsonl")
        assert list(line["differences"]) == list(changes)

    def test_sent_with_another_mapping(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(50))
        send(source, mapping=MAPPING + "exclude: [amount]\n")
        code, out, _ = check(source)
        assert code == 1
        assert number(out, "altered") == 50

    def test_a_file_that_cannot_be_read(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(5))
        send(source)
        (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
        code, out, _ = check(f"{tmp_path}/*.parquet")
        assert code == 1
        assert out.startswith("A file of the input cannot be read, so nothing is proven")

    def test_every_record_fails(self, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(5, user=[None] * 5))
        code, out, _ = check(source)
        assert code == 1
        assert "distinct_id_null  5" in out


def test_200_000_events_in_bounded_memory(send, server, tmp_path):
    """In a process of its own, whose memory must not grow with the input."""
    rows = 200_000
    source = write(tmp_path / "a.parquet", days(rows, rows // 10), row_group_size=50_000)
    assert send(source, own_process=True).code == 0
    peaks = {}
    for part, code in (("2024-01-01", 0), ("2024-01-10", 0)):
        arguments = [
            f"--input={source}",
            f"--mapping={tmp_path}/mapping.yaml",
            "--api-secret=env:TEST_API_SECRET",
            f"--endpoint={server.url}",
            f"--to={part}",
        ]
        script = (
            "import resource, sys; from pipelines.verify_import import main; "
            "code = main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        peaks[part] = int(done.stdout.split()[-1]) // 1024
    assert f"{rows:,}" in done.stdout
    print(f"peak memory in MB by last day: {peaks}")
    assert peaks["2024-01-10"] < peaks["2024-01-01"] + 150


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        verify_import.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for option in ("--input", "--from", "--project-timezone", "--report-dir"):
        assert option in out
