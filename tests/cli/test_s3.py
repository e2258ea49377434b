"""From a partitioned folder on s3:// to an import, against moto's server; its failed
records and its checkpoint are on s3://, too."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems

from mixpanel_sink import extras
from mixpanel_sink.emulator.testing import Emulator
from tests.cli.conftest import Call
from tests.cloud_storage import moto_bucket


@pytest.fixture
def bucket() -> Iterator[Any]:
    """Named "events"."""
    with moto_bucket("events") as made:
        yield made


def write(bucket: Any, path: str, rows: int) -> None:
    users = [*(f"u{i}" for i in range(rows - 1)), None]
    at = pa.array([1_714_557_600 + i for i in range(rows)], pa.timestamp("s", "UTC"))
    out = io.BytesIO()
    pq.write_table(pa.table({"user": users, "at": at}), out)
    bucket.put_object(Key=path, Body=out.getvalue())


def test_a_partitioned_folder(
    call: Call,
    mixpanel: Emulator,
    bucket: Any,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    write(bucket, "in/kind=Order/land=S%C3%A3o/a.parquet", 40)
    write(bucket, "in/kind=View/land=__HIVE_DEFAULT_PARTITION__/a.parquet", 20)
    write(bucket, "in/_temporary/kind=View/a.parquet", 5)
    folder = "s3://events/in/"

    made = call("init", folder)
    assert made.code == 0, made.err
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("event: kind\ntime: at\ndistinct_id: user\n")
    where = ("-m", mapping, "--endpoint", mixpanel.url)
    more = ("--failed-output", "s3://events/failed/run", "--checkpoint", "s3://events/checkpoint")
    sent = call("import", folder, *where, *more)
    assert "60 read = 58 accepted + 2 failed" in sent.out, sent.out + sent.err
    found = [(e["event"], e["properties"].get("land")) for e in mixpanel.events()]
    assert sorted(map(str, found)) == ["('Order', 'São')"] * 39 + ["('View', None)"] * 19

    keys = [each.key for each in bucket.objects.all()]
    (failed,) = (key for key in keys if key.startswith("failed/run"))
    lines = bucket.Object(failed).get()["Body"].read().splitlines()
    assert {json.loads(line)["file"].rpartition("/in/")[0] for line in lines} == {"s3://events"}
    assert len(lines) == 2
    assert any(key.startswith("checkpoint/") for key in keys)

    before = mixpanel.stats()["requests"]
    again = call("import", folder, *where, *more)
    assert again.code in (0, 1), again.err
    assert mixpanel.stats()["requests"] == before  # the checkpoint knows them
    assert mixpanel.stats()["events_distinct"] == 58


def test_without_credentials_it_is_one_sentence_at_once(
    call: Call, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    extras._check_s3_credentials.cache_clear()
    (tmp_path / "m.yaml").write_text("event: kind\ntime: at\ndistinct_id: user\n")
    (tmp_path / "a.csv").write_text("kind,at,user\n")
    for words in (
        ("init", "s3://events/in/a.csv"),
        ("check", "s3://events/in/a.csv", "-m", tmp_path / "m.yaml"),
        ("import", "s3://events/in/a.csv", "-m", tmp_path / "m.yaml", "--api-secret=env:HOME"),
    ):
        done = call(*words)
        assert done.code == 2
        assert "s3:// needs Amazon's credentials. Set AWS_ACCESS_KEY_ID" in done.err
        assert len(done.err.splitlines()) == 2  # the sentence, and its code
