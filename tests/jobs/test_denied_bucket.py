"""A bucket that denies listing, reading or writing, from the beginning or in the middle of a run:
one sentence, nothing half-written, and the next run goes on."""

from __future__ import annotations

import http
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcp_storage_emulator import server as buckets
from google.cloud import storage

from mixpanel_sink.checkpoint import journal
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs import import_files

FORBIDDEN = "<robot> does not have storage.objects access to the Google Cloud Storage object."
REQUESTS = {
    "list": ("GET", r".*/b/events/o"),
    "read": ("GET", r".*/b/events/o/.+"),
    "write": ("POST", r"/upload/.*/b/events/o"),
}
Deny = Callable[..., None]


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Deny:
    """Makes the bucket answer 403 to requests of a kind, after so many that it lets pass."""
    real = buckets.Router.handle
    denied: dict[str, int] = {}

    def handle(self: Any, method: str) -> None:
        request = buckets.Request(self._request_handler, method)
        for kind in denied:
            wanted, path = REQUESTS[kind]
            if method == wanted and re.fullmatch(path, request.path):
                denied[kind] -= 1
                if denied[kind] < 0:
                    _ = request.data  # read it, or the connection breaks
                    response = buckets.Response(self._request_handler)
                    response.status = http.HTTPStatus.FORBIDDEN
                    response.json({"error": {"code": 403, "message": FORBIDDEN}})
                    response.close()
                    return
        real(self, method)

    def set(*kinds: str, after: int = 0) -> None:
        denied.clear()
        denied.update(dict.fromkeys(kinds, after))

    monkeypatch.setattr(buckets.Router, "handle", handle)
    return set


@pytest.fixture
def files(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "in").mkdir()
    for name, users in (("a", ["u1", None]), ("b", ["u2", "u3"])):
        at = [1_704_067_200_000, 1_704_067_200_001]
        table = pa.table({"name": ["Order"] * 2, "user": users, "at": at})
        pq.write_table(table, tmp_path / f"in/{name}.parquet")
    return tmp_path / "in"


def names(bucket: storage.Bucket, prefix: str) -> list[str]:
    return [blob.name for blob in bucket.client.list_blobs("events", prefix=prefix)]


def one_sentence(err: str) -> str:
    """What was said, without the line of its code."""
    assert "Traceback" not in err, err
    said = [line for line in err.splitlines() if "Error:" in line or line.startswith("MXS")]
    assert said, err
    return err


def test_listing_is_denied(send: Any, server: Emulator, bucket: storage.Bucket, deny: Deny) -> None:
    deny("list")
    run = send("gs://events/secret/*.parquet", module=import_files)
    assert run.code == 2
    assert "gs://events/secret/*.parquet cannot be listed (" in one_sentence(run.err)
    assert "Check the path, its permissions" in run.err
    assert server.stats()["requests"] == 0


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_checkpoint_is_denied(
    send: Any, server: Emulator, bucket: storage.Bucket, deny: Deny, files: Any, kind: str
) -> None:
    deny(kind)
    where = f"gs://events/denied-{kind}"
    run = send(files, f"--checkpoint={where}", module=import_files)
    assert run.code == 2
    said = one_sentence(run.err)
    assert f"checkpoint {where} cannot be used (" in said
    assert "Check the folder and its permissions" in said
    assert server.stats()["requests"] == 0
    deny()
    assert names(bucket, f"denied-{kind}") == []


def test_failed_records_are_denied(
    send: Any, server: Emulator, bucket: storage.Bucket, deny: Deny, files: Any
) -> None:
    deny("write")
    run = send(files, "--failed-output=gs://events/denied-failed/run", module=import_files)
    assert run.code in (1, 2)
    one_sentence(run.err)
    assert "accepted +" not in run.out, "it must not say that every record is accounted for"
    deny()
    assert names(bucket, "denied-failed") == []


@pytest.mark.parametrize("after", range(1, 7))
def test_writing_is_denied_in_the_middle(
    send: Any,
    server: Emulator,
    bucket: storage.Bucket,
    deny: Deny,
    files: Any,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    """The run fails, whatever it was about to write, and the next one ends it."""
    monkeypatch.setattr(journal, "WAITS", (0.01,))
    checkpoint = f"--checkpoint=gs://events/half-{after}"
    deny("write", after=after)
    first = send(files, checkpoint, module=import_files)
    assert "Traceback" not in first.err, first.err
    deny()
    second = send(files, checkpoint, module=import_files)
    assert second.code == 0, second.err
    assert first.code in (1, 2), "a run whose log or manifest was denied has failed"
    assert server.stats()["events_distinct"] == 3
    left = [name.rpartition("/")[2] for name in names(bucket, f"half-{after}")]
    assert not [name for name in left if name.startswith(("plan-", "accepted-", "lease"))], left
    third = send(files, checkpoint, module=import_files)
    assert "2 files were imported before, 0 are new." in third.out
