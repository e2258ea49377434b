"""`mixpanel-sink lookup-table`: the real command against the emulator."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.cli import main
from mixpanel_sink.emulator.testing import Emulator
from tests.cli.conftest import Call
from tests.jobs.test_notify import Webhook, webhook  # noqa: F401
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import bigquery  # noqa: F401

SECRET = "robot-secret-0123456789"
CSV = "id,artist,year\r\nc1,Drake,2018\r\nd2,Sade,1984\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(service_account=("robot", SECRET), project_id=42) as running:
        yield running


@pytest.fixture
def place(
    server: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> pathlib.Path:
    server.reset(quota="none")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBOT_SECRET", SECRET)
    pathlib.Path("songs.csv").write_text("id,artist,year\nd2,Sade,1984\nc1,Drake,2018\n")
    return tmp_path


def where(server: Emulator) -> list[str]:
    return [
        f"--endpoint={server.url}",
        "--service-account=robot",
        "--service-account-secret=env:ROBOT_SECRET",
        "--project-id=42",
    ]


def test_upload_and_list(call: Call, server: Emulator, place: pathlib.Path) -> None:
    done = call("lookup-table", "list", *where(server))
    assert done.code == 0, done.err
    assert "has no lookup tables" in done.out
    id = server.create_lookup_table("Songs")
    done = call("lookup-table", "upload", "songs.csv", "--id", id, *where(server))
    assert done.code == 0, done.err
    assert f"The table {id} of 127.0.0.1" in done.out
    assert "now holds 2 rows, 3 columns, 45 bytes." in done.out
    assert server.lookup_table(id) == CSV
    done = call("lookup-table", "list", *where(server), "--json")
    assert json.loads(done.out) == {"lookup_tables": [{"id": id, "name": "Songs"}]}
    assert call("lookup-table", "list", *where(server)).out == f"{id}  Songs\n"


def test_from_other_sources(
    call: Call,
    server: Emulator,
    place: pathlib.Path,
    bigquery: BigQueryServer,
) -> None:
    id = server.create_lookup_table("Songs")
    rows = [
        {"year": 1984, "id": "d2", "artist": "Sade"},
        {"year": 2018, "id": "c1", "artist": "Drake"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), "songs.parquet")
    pathlib.Path("songs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    for name in ("songs.parquet", "songs.jsonl"):
        server.reset(quota="none")
        id = server.create_lookup_table("Songs")
        done = call(
            "lookup-table", "upload", name, f"--id={id}", *where(server), "--columns=id,artist,year"
        )
        assert done.code == 0, done.err
        assert server.lookup_table(id) == CSV, name
    done = call(
        *("lookup-table", "upload", "bq://shop-prod.sales.orders", "--id", id, *where(server)),
        *("--key=id", "--columns=id,user", "--json"),
    )
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["rows"], summary["columns"]) == (5000, ["id", "user"])
    fields = [list(s.read_session.read_options.selected_fields) for s in bigquery.sessions]
    assert fields[-1] == ["id", "user"], "only what is sent is read"


def test_only_if_it_has_changed(call: Call, server: Emulator, place: pathlib.Path) -> None:
    id = server.create_lookup_table("Songs")
    words = ["lookup-table", "upload", "songs.csv", "--id", id, *where(server)]
    words += ["--checkpoint", "kept", "--json"]
    first = json.loads(call(*words).out)
    assert (first["replaced"], first["requests"], first["bytes"]) == (True, 1, 45)
    again = json.loads(call(*words).out)
    assert (again["replaced"], again["requests"]) == (False, 0)
    assert json.loads(call(*words, "--force").out)["replaced"]
    with open("songs.csv", "a") as file:
        file.write("e3,Adele,2011\n")
    assert json.loads(call(*words).out)["rows"] == 3
    assert server.stats()["requests"] == 3
    assert SECRET not in "".join(p.read_text() for p in (place / "kept").iterdir())


def test_what_became_of_it_is_posted(
    call: Call,
    server: Emulator,
    place: pathlib.Path,
    webhook: Webhook,
) -> None:
    words = ["lookup-table", "upload", "songs.csv", *where(server), "--notify=env:HOOK"]
    assert call(*words, "--id", server.create_lookup_table("Songs")).code == 0
    assert call(*words, "--id", "another").code == 1
    done, failed = webhook.posted
    assert (done["command"], done["status"]) == ("lookup-table upload", "succeeded")
    assert "now holds 2 rows" in done["result"]
    assert (failed["status"], failed["exit_code"]) == ("failed", 1)
    assert "another" in failed["error"]


def test_an_upload_without_an_answer_is_not_taken_for_the_table(
    call: Call, server: Emulator, place: pathlib.Path
) -> None:
    """A then B, which may have arrived, then A again: A must be sent."""
    id = server.create_lookup_table("Songs")
    words = ["lookup-table", "upload", "songs.csv", "--id", id, *where(server)]
    words += ["--checkpoint", "kept"]
    assert call(*words).code == 0
    before = pathlib.Path("songs.csv").read_text()
    pathlib.Path("songs.csv").write_text("id,artist,year\nz,Other,1\n")
    server.faults([{"kind": "status", "status": 503, "path": f"/lookup-tables/{id}", "times": 9}])
    done = call(*words, "--transient-seconds=0.2", "--first-wait=0.01")
    assert done.code == 1
    assert "did not take the lookup table in" in done.err
    assert "Run it again when the endpoint has recovered" in done.err
    server.faults([])
    pathlib.Path("songs.csv").write_text(before)
    assert call(*words).code == 0
    assert server.lookup_table(id) == CSV


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,a\nx,1\ny,2\nx,3\n", "songs.csv, row 2: the key 'x' is also in"),
        ("id,a\n,1\n", "songs.csv, row 0: the key, id, is empty"),
        ("id,a\nx,1\ny\n", "songs.csv, row 1:"),
        ("id,a\n", "no rows"),
    ],
    ids=["twice", "blank", "short", "empty"],
)
def test_bad_rows(call: Call, server: Emulator, place: pathlib.Path, text: str, says: str) -> None:
    pathlib.Path("songs.csv").write_text(text)
    done = call("lookup-table", "upload", "songs.csv", "--id=t", *where(server))
    assert done.code == 2
    assert says in done.err
    assert server.stats()["requests"] == 0


def test_what_mixpanel_refuses(
    call: Call, server: Emulator, place: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["lookup-table", "upload", "songs.csv", *where(server)]
    done = call(*words, "--id=nope", "--json")
    assert done.code == 1
    assert "no lookup table with the id 'nope'" in done.err
    assert "no lookup table" in json.loads(done.out)["error"]
    id = server.create_lookup_table("Songs")
    kind = {"kind": "rate_limit", "retry_after": "7200", "path": f"/lookup-tables/{id}"}
    server.faults([kind])
    done = call(*words, "--id", id)
    assert done.code == 1
    assert "takes no more lookup tables for now" in done.err
    assert "Run it again in 2.0 hours" in done.err
    server.faults([{**kind, "retry_after": "1"}])
    assert call(*words, "--id", id).code == 0, "a short pause is waited for"
    monkeypatch.setenv("ROBOT_SECRET", "wrong-secret-99")
    for given in ([*words, "--id", id], ["lookup-table", "list", *where(server)]):
        done = call(*given)
        assert done.code == 1
        assert "does not accept the service account" in done.err
        assert "wrong-secret-99" not in done.out + done.err


def test_wrong_settings(call: Call, server: Emulator, place: pathlib.Path) -> None:
    upload = ["lookup-table", "upload", "songs.csv", "--id=t"]
    for words, says in (
        ([*upload, f"--endpoint={server.url}"], "No credentials"),
        ([*upload, "--project-token=env:ROBOT_SECRET"], "need a service account"),
        (["lookup-table", "list", "--project-token=env:ROBOT_SECRET"], "need a service account"),
        ([*upload, *where(server), "--key=artst"], "Did you mean 'artist'"),
        ([*upload, *where(server), "--columns=id,artst"], "Did you mean 'artist'"),
        (["lookup-table", "upload", "none.csv", "--id=t", *where(server)], "No file matches"),
        ([*upload, *where(server), "--quotta=1"], "MXS102"),
        (["lookup-table", "upload", "songs.csv", *where(server)], "--id is missing"),
    ):
        done = call(*words)
        assert done.code == 2, words
        assert says in done.err, done.err
    assert server.stats()["requests"] == 0


def test_the_group_has_a_help_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lookup-table", "--help"]) == 0
    said = capsys.readouterr().out
    assert "upload" in said
    assert "list" in said
