"""The same pipeline over gs://: Beam's GCS IO and Google's client, against an emulator."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud import storage

from mixpanel_sink.checkpoint import journal
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.jobs import import_files
from mixpanel_sink.process import forget
from mixpanel_sink.read.files import match_files
from pipelines import json_lines_to_mixpanel, parquet_to_mixpanel, replay_failed, verify_import
from tests.cli.test_formats import ROWS, content
from tests.jobs.conftest import MAPPING


def _upload(bucket: storage.Bucket, name: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    bucket.blob(name).upload_from_string(sink.getvalue().to_pybytes())


def test_reads_from_and_writes_failures_to_cloud_storage(send, server, bucket) -> None:
    for day in range(2):
        users = [f"u{day}-{i}" for i in range(1500)]
        users[7] = "null"
        at = [1_704_067_200_000 + i for i in range(1500)]
        table = pa.table({"name": ["Order"] * 1500, "user": users, "at": at})
        _upload(bucket, f"shop/day={day}/part.parquet", table)
    run = send("gs://events/shop/*/*.parquet", "--failed-output=gs://events/failed/run")
    assert run.code == 0, run.err
    assert "3,000 read = 2,998 accepted + 2 failed" in run.out
    assert server.stats()["events_distinct"] == 2998
    assert server.stats()["requests"] == 2
    written = [b for b in bucket.client.list_blobs("events") if b.name.startswith("failed/run")]
    lines = b"".join(blob.download_as_bytes() for blob in written).splitlines()
    failed = sorted((json.loads(line) for line in lines), key=lambda f: f["file"])
    assert [f["file"] for f in failed] == [
        f"gs://events/shop/day={day}/part.parquet" for day in range(2)
    ]
    assert [f["row"] for f in failed] == [7, 7]


def test_sends_failures_again_and_proves_it(send, server, bucket, tmp_path, capsys) -> None:
    users = [None if i == 7 else f"u{i}" for i in range(50)]
    at = [1_704_067_200_000 + i for i in range(50)]
    table = pa.table({"name": ["Order"] * 50, "user": users, "at": at})
    _upload(bucket, "again/a.parquet", table)
    source = "gs://events/again/*.parquet"
    send(source, "--failed-output=gs://events/lost/run")
    fixed = MAPPING.replace("distinct_id: user", "distinct_id: {column: user, if_null: guest}")
    (tmp_path / "fixed.yaml").write_text(fixed)
    common = [
        f"--mapping={tmp_path}/fixed.yaml",
        "--api-secret=env:TEST_API_SECRET",
        f"--endpoint={server.url}",
    ]
    verify = [f"--input={source}", *common, "--report-dir=gs://events/report"]
    assert verify_import.main(verify) == 1
    assert b'"day":"2024-01-01"' in bucket.blob("report/missing.jsonl").download_as_bytes()
    lost = "--input=gs://events/lost/run*.jsonl"
    replayed = replay_failed.main([lost, *common, "--quota=none"])
    assert replayed == 0, capsys.readouterr().err
    assert verify_import.main(verify) == 0, capsys.readouterr().out
    dry = parquet_to_mixpanel.main([f"--input={source}", f"{common[0]}", "--dry-run"])
    assert dry == 0
    assert server.stats()["events_distinct"] == 50


def test_failures_that_cannot_be_kept_fail_the_run(send, server, bucket, tmp_path) -> None:
    at = [1_704_067_200_000] * 3
    pq.write_table(
        pa.table({"name": ["a"] * 3, "user": ["u"] * 3, "at": at}), tmp_path / "a.parquet"
    )
    run = send(tmp_path / "a.parquet", "--failed-output=gs://no-such-bucket/failed")
    assert run.code == 1
    assert "accepted +" not in run.out


def test_packed_json_lines_from_cloud_storage(send, server, bucket) -> None:
    at = 1_704_067_200_000
    lines = [json.dumps({"name": "Order", "user": f"u{i}", "at": at + i}) for i in range(2500)]
    lines[7] = lines[7][:-5]
    packed = gzip.compress("\n".join(lines).encode())
    bucket.blob("lines/a.jsonl.gz").upload_from_string(packed)
    bucket.blob("lines/b.jsonl").upload_from_string(lines[0] + "\n")
    failed = "--failed-output=gs://events/failed-lines/run"
    for _ in range(2):
        run = send("gs://events/lines/*", failed, module=json_lines_to_mixpanel)
        assert run.code == 0, run.err
        assert "2,501 read = 2,500 accepted + 1 failed" in run.out
    assert server.stats()["events_distinct"] == 2500
    (written,) = bucket.client.list_blobs("events", prefix="failed-lines/")
    (line,) = written.download_as_bytes().splitlines()
    assert json.loads(line)["file"] == "gs://events/lines/a.jsonl.gz"
    assert json.loads(line)["row"] == 7


ANY_FORMAT = """
event: event_name
distinct_id: {column: user_id, if_null: ""}
time: {column: created_at, unit: iso8601}
"""


def test_each_format_is_the_same_events_from_cloud_storage(send, server, bucket) -> None:
    made = {}
    for suffix in ("csv.gz", "jsonl", "avro", "orc", "arrow", "xlsx"):
        kind = {"arrow": "feather"}.get(suffix, suffix.removesuffix(".gz"))
        data = gzip.compress(content(kind)) if suffix.endswith(".gz") else content(kind)
        bucket.blob(f"formats/{suffix}/day=1/a.{suffix}").upload_from_string(data)
        server.reset(quota="none")
        more = ["--types=amount=number"] if kind == "csv" else []
        # A folder whose partition key is a column.
        source = f"gs://events/formats/{suffix}/"
        run = send(source, *more, mapping=ANY_FORMAT, module=import_files)
        assert f"{ROWS:,} read = {ROWS:,} accepted + 0 failed" in run.out, (suffix, run.err)
        made[suffix] = sorted(
            (e["event"], e["properties"]["time"], e["properties"]["amount"], e["properties"]["day"])
            for e in server.events(limit=ROWS)
        )
    assert len(made["orc"]) == ROWS
    assert [suffix for suffix, events in made.items() if events != made["orc"]] == []


def test_nothing_there(send, bucket) -> None:
    run = send("gs://events/none/*.parquet")
    assert run.code == 2
    assert "No file matches gs://events/none" in run.err


def test_files_are_sorted(bucket) -> None:
    for name in ("b", "a", "c"):
        _upload(bucket, f"{name}.parquet", pa.table({"x": [1]}))
    found = match_files("gs://events/*.parquet")
    assert found == [f"gs://events/{name}.parquet" for name in "abc"]


def test_a_checkpoint_in_cloud_storage(send, server, bucket) -> None:
    at = [1_704_067_200_000 + i for i in range(9000)]
    table = pa.table({"name": ["Order"] * 9000, "user": [f"u{n}" for n in at], "at": at})
    _upload(bucket, "resume/part.parquet", table)
    arguments = ["gs://events/resume/*.parquet", "--checkpoint=gs://events/checkpoints/1"]
    server.faults([{"kind": "status", "status": 401, "skip": 2}])
    assert send(*arguments).code == 1
    first = server.stats()["requests_by_endpoint"]["/import"]["200"]
    assert first >= 2
    assert [b.name for b in bucket.list_blobs(prefix="checkpoints/1/accepted-")]
    forget()
    second = send(*arguments)
    assert second.code == 0, second.err
    assert "9,000 read = 9,000 accepted + 0 failed" in second.out
    assert server.stats()["requests_by_endpoint"]["/import"]["200"] == 5
    assert server.stats()["duplicates"] == 0
    forget()
    other = send(*arguments, mapping=MAPPING + "insert_id: {from: content}\n")
    assert other.code == 2
    assert "insert_id" in other.err
    assert "each is stored twice" in other.err
    assert [b.name for b in bucket.list_blobs(prefix="checkpoints/1/accepted-")] == []
    assert bucket.get_blob("checkpoints/1/lease.json") is None
    forget()
    assert send(*arguments[:1], "--checkpoint=gs://no-such-bucket/1").code == 2


OWNER = Owner("input", "mapping", "import", "projects")


class TestAJournalInCloudStorage:
    def test_trouble_that_passes_loses_no_line(self, bucket, monkeypatch) -> None:
        monkeypatch.setattr(journal, "WAITS", (0.01, 0.01))
        lines = journal.Journal("gs://events/journal", OWNER)
        failing = Failing(storage.Blob.upload_from_string, 2)
        monkeypatch.setattr(
            storage.Blob, "upload_from_string", lambda *given, **named: failing(*given, **named)
        )
        lines.wait(lines.write(1))
        failing.times = 3
        lines.write(2)
        with pytest.raises(CheckpointError, match=r"cannot be written \(503 try later\)"):
            lines.wait()
        lines.write(3)  # a bundle that is run again finds what the first one could not write
        lines.wait()
        again = journal.Journal("gs://events/journal", OWNER)
        assert list(again.read()) == [1, 2, 3]
        lines.wait(lines.write(4))
        assert list(again.read()) == [4]
        assert list(again.read()) == []


class Failing:
    """Google's way to make an object, when it has trouble."""

    def __init__(self, create, times: int) -> None:
        self.create, self.times = create, times

    def __call__(self, *given, **named):
        self.times -= 1
        if self.times >= 0:
            raise OSError("503 try later")
        return self.create(*given, **named)
