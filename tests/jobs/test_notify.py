"""--notify, against a server on loopback."""

from __future__ import annotations

import dataclasses
import http.server
import json
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.errors import CredentialsError, SettingError
from mixpanel_sink.jobs import beam_options, export, notify, parse, replay, verify
from mixpanel_sink.settings.options import Settings
from pipelines import replay_failed

PATH = "/services/T0001/B0002/n0tify-s3cret"
"""A webhook's path is its secret."""


@dataclasses.dataclass
class Webhook:
    url: str
    answers: list[int]
    posted: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """Takes what is posted; answers as `answers` says, then 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == PATH
            made.posted.append(json.loads(body))
            self.send_response(made.answers.pop(0) if made.answers else 200)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Webhook(f"http://127.0.0.1:{server.server_port}{PATH}", [])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HOOK", made.url)
        monkeypatch.setattr(notify.time, "sleep", lambda _: None)
        yield made
        server.shutdown()


def orders(path: pathlib.Path, users: list[str | None]) -> pathlib.Path:
    at = [1_704_067_200_000 + i for i in range(len(users))]
    pq.write_table(pa.table({"name": ["Order"] * len(users), "user": users, "at": at}), path)
    return path


def test_an_import_tells_what_it_came_to(send, server, webhook, tmp_path) -> None:
    file = orders(tmp_path / "a.parquet", ["u1", None, "u3", None])
    run = send(file, "--notify=env:HOOK")
    assert run.code == 0
    (told,) = webhook.posted
    assert told["status"] == "succeeded"
    assert told["exit_code"] == 0
    assert told["command"] == "import"
    assert told["input"] == [str(file)]
    assert told["counters"]["records_read"] == 4
    assert told["counters"]["events_accepted"] == 2
    assert told["failures"] == {"distinct_id_null": 2}
    assert told["failed_output"] == f"{tmp_path}/failed"
    assert told["text"].splitlines()[1:] == [
        "4 read, 2 accepted, 2 failed.",
        "Failed: distinct_id_null 2.",
    ]
    assert server.api_secret not in json.dumps(told)
    # The same for failed records that are sent again; this time none is accepted.
    again = send(
        f"{tmp_path}/failed*.jsonl",
        f"--failed-output={tmp_path}/second",
        f"--notify={webhook.url}",
        module=replay_failed,
    )
    assert again.code == 1
    told = webhook.posted[1]
    assert (told["command"], told["status"], told["exit_code"]) == ("replay", "failed", 1)
    assert told["text"].startswith("mixpanel-sink replay of ")
    assert PATH not in again.out + again.err


def test_failures_are_told(send, server, webhook, tmp_path, monkeypatch) -> None:
    missing = send(tmp_path / "none-*.parquet", "--notify=env:HOOK")
    assert missing.code == 2
    file = orders(tmp_path / "a.parquet", ["u1"])
    monkeypatch.setenv("WRONG", "wr0ng-s3cret")
    refused = send(file, "--notify=env:HOOK", "--api-secret=env:WRONG")
    assert refused.code == 1
    first, second = webhook.posted
    assert (first["status"], first["exit_code"]) == ("refused", 2)
    assert first["error"].startswith("No file matches")
    assert (second["status"], second["exit_code"]) == ("failed", 1)
    assert second["error"] in " ".join(refused.err.split())
    assert "wr0ng-s3cret" not in json.dumps(webhook.posted)


def test_verify_and_export_tell(send, server, webhook, tmp_path, monkeypatch, capsys) -> None:
    file = orders(tmp_path / "a.parquet", ["u1", "u2"])
    assert send(file).code == 0
    common = [
        "--api-secret=env:TEST_API_SECRET",
        f"--endpoint={server.url}",
        "--notify=env:HOOK",
    ]
    verifying = [f"--input={file}", f"--mapping={tmp_path}/mapping.yaml", *common]
    assert verify.main(verifying) == 0
    days = [*common, "--from=2024-01-01", "--to=2024-01-01"]
    settings = parse.parse_all(days, "export", "export", None)
    assert export.start(settings, f"{tmp_path}/export") == 0
    verified, exported = webhook.posted
    assert verified["result"].startswith("Mixpanel holds all 2 events")
    assert (exported["command"], exported["status"]) == ("export", "succeeded")
    assert exported["result"] == f"2 events of {server.url.partition('://')[2]} in 1 file."


@pytest.mark.parametrize(
    ("answers", "posts", "said"),
    [([500, 200], 2, None), ([404], 1, "HTTP 404"), ([302], 1, "HTTP 302"), ([503] * 9, 2, "503")],
)
def test_the_exit_code_is_the_jobs(webhook, capsys, answers, posts, said) -> None:
    webhook.answers = answers
    assert notify.told("import", Settings(notify=webhook.url), lambda: 0) == 0
    assert len(webhook.posted) == posts
    err = capsys.readouterr().err
    assert ("Warning: the notification did not reach 127.0.0.1" in err) is (said is not None)
    assert (said or "") in err
    assert "n0tify-s3cret" not in err


def test_a_server_that_does_not_answer_costs_bounded_time(capsys, monkeypatch) -> None:
    monkeypatch.setattr(notify, "LIMIT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{PATH}"
        assert notify.told("import", Settings(notify=url), lambda: 0) == 0
    # Nobody listens any more.
    assert notify.told("import", Settings(notify=url), lambda: 3) == 3
    err = capsys.readouterr().err
    assert err.count("did not reach") == 2
    assert "n0tify-s3cret" not in err


def test_what_is_told_holds_no_secret(webhook, monkeypatch) -> None:
    monkeypatch.setenv("MY_SECRET", "abc-s3cret-def")
    settings = Settings(
        notify="env:HOOK",
        api_secret="env:MY_SECRET",
        input=("https://me:pw-s3cret@files.example/a.csv?sig=q-s3cret",),
    )

    def fail() -> int:
        notify.note(error=f"it said abc-s3cret-def for {webhook.url}", status="failed")
        return 1

    assert notify.told("import", settings, fail) == 1
    (told,) = webhook.posted
    assert "s3cret" not in json.dumps(told)
    assert told["input"] == ["https://files.example/a.csv"]
    assert "it said [redacted] for [redacted]" in told["text"]
    with pytest.raises(ZeroDivisionError):
        notify.told("import", settings, lambda: 1 // 0)
    assert webhook.posted[1]["error"].startswith("ZeroDivisionError")
    with pytest.raises(KeyboardInterrupt):
        notify.told("import", settings, _interrupt)
    assert webhook.posted[2]["status"] == "interrupted"


def _interrupt() -> int:
    raise KeyboardInterrupt


def test_the_url_is_in_no_option_report_or_repr(webhook) -> None:
    settings, options = beam_options.parse([f"--notify={webhook.url}"], "import", "x", None)
    assert settings.notify == webhook.url
    assert "n0tify-s3cret" not in repr(settings)
    assert "n0tify-s3cret" not in json.dumps(options.get_all_options(), default=str)
    with pytest.raises(SettingError) as raised:
        beam_options.parse(["--notify=hooks.slack.com/n0tify-s3cret"], "import", "x", None)
    assert "--notify must be a URL with https://" in str(raised.value)
    assert "n0tify-s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "the environment variable HOOK is not set here"),
        ("n0tify-s3cret", "is not a URL with http or https"),
        ("http://hooks.example/n0tify-s3cret", "would be sent unencrypted to hooks.example"),
    ],
)
def test_a_url_that_cannot_be_used_stops_the_job_before_it_begins(monkeypatch, value, said) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    if value is not None:
        monkeypatch.setenv("HOOK", value)
    with pytest.raises((SettingError, CredentialsError), match=said) as raised:
        notify.told("import", Settings(notify="env:HOOK"), lambda: pytest.fail("it began"))
    assert "n0tify-s3cret" not in str(raised.value)


def test_without_the_option_nothing_is_posted(webhook, capsys) -> None:
    notify.note(error="to nobody")
    assert replay.told("replay", Settings(), lambda: 1) == 1
    assert not webhook.posted
    assert capsys.readouterr().err == ""


def test_a_clock_that_is_set_back_makes_no_negative_time(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()

    def job() -> int:
        monkeypatch.setattr(notify.time, "time", lambda: now - 3600)
        return 0

    assert notify.told("import", Settings(notify=webhook.url), job) == 0
    assert 0 <= webhook.posted[0]["seconds"] < 1800
    assert "after -" not in webhook.posted[0]["text"]
