"""From files on az:// to a verified import, against Azurite; failed records, checkpoint and report
are on az://, too."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from azure.storage.blob import ContainerClient

from mixpanel_sink import extras
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.files import match_files
from tests.cli.conftest import Call
from tests.cloud_storage import emulated_container


@pytest.fixture(scope="module")
def container() -> Iterator[ContainerClient]:
    """Named "events"."""
    with emulated_container() as made:
        yield made


def table(rows: int, first: int = 0) -> pa.Table:
    users = [*(f"u{first + i}" for i in range(rows - 1)), None]
    at = pa.array([1_714_557_600 + first + i for i in range(rows)], pa.timestamp("s", "UTC"))
    return pa.table({"user": users, "at": at})


def upload(container: ContainerClient, name: str, rows: int, first: int = 0) -> None:
    out = io.BytesIO()
    pq.write_table(table(rows, first), out)
    container.upload_blob(name, out.getvalue(), overwrite=True)


def names(container: ContainerClient, prefix: str) -> list[str]:
    return [each.name for each in container.list_blobs(prefix)]


def test_from_files_to_a_verified_import(
    call: Call,
    mixpanel: Emulator,
    container: ContainerClient,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    upload(container, "in/kind=Order/land=S%C3%A3o/a.parquet", 40)
    upload(container, "in/kind=View/land=__HIVE_DEFAULT_PARTITION__/a.parquet", 20, 40)
    upload(container, "in/_temporary/kind=View/a.parquet", 5)
    folder = "az://events/in"

    made = call("init", folder)
    assert made.code == 0, made.err
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("event: kind\ntime: at\ndistinct_id: user\n")
    where = ("-m", mapping, "--endpoint", mixpanel.url)
    more = ("--failed-output", "az://events/failed/run", "--checkpoint", "az://events/checkpoint")
    sent = call("import", folder, *where, *more)
    assert "60 read = 58 accepted + 2 failed" in sent.out, sent.out + sent.err
    found = [(e["event"], e["properties"].get("land")) for e in mixpanel.events()]
    assert sorted(map(str, found)) == ["('Order', 'São')"] * 39 + ["('View', None)"] * 19
    (failed,) = names(container, "failed/")
    lines = [json.loads(line) for line in container.download_blob(failed).readall().splitlines()]
    assert sorted(line["file"] for line in lines) == match_files(folder)
    assert "all 58 events" in call("verify", folder, *where).out

    upload(container, "in/kind=View/land=FR/b.parquet", 10, 60)
    again = call("import", folder, *where, *more)
    assert "10 read = 9 accepted + 1 failed" in again.out, again.out + again.err
    mapping.write_text("event: kind\ntime: at\ndistinct_id: {column: user, if_null: guest}\n")
    replayed = call("replay", "az://events/failed/*.jsonl", *where)
    assert "3 read = 3 accepted" in replayed.out, replayed.out + replayed.err
    assert mixpanel.stats()["events_distinct"] == 70
    report = ("--report-dir", "az://events/report")
    assert call("verify", "az://events/in/kind=*/**/*.parquet", *where, *report).code == 0


def test_packed_text_and_names_with_brackets(
    call: Call, mixpanel: Emulator, container: ContainerClient, tmp_path: pathlib.Path
) -> None:
    text = "kind,at,user\n" + "".join(f"Order,{1_714_557_600 + i},u{i}\n" for i in range(30))
    container.upload_blob("text/a [1].csv.gz", gzip.compress(text.encode()))
    (tmp_path / "m.yaml").write_text(
        "event: kind\ntime: {column: at, unit: s}\ndistinct_id: user\n"
        "source: {format: csv, types: {at: integer}}\n"
    )
    where = ("-m", tmp_path / "m.yaml", "--endpoint", mixpanel.url)
    secret = ("--api-secret", f"file:{tmp_path}/secret")
    (tmp_path / "secret").write_text(mixpanel.api_secret)
    for source in ("az://events/text/a [1].csv.gz", "az://events/text/*.csv.gz"):
        done = call("import", source, *where, *secret)
        assert "30 read = 30 accepted" in done.out, done.out + done.err
    assert mixpanel.stats()["events_distinct"] == 30


def test_the_file_system(container: ContainerClient) -> None:
    extras.require("az://events")
    assert extras.plugins() == ["mixpanel_sink.azure_blobs"]
    with FileSystems.create("az://events/fs/a.txt.gz") as file:  # packed by its name
        file.write(b"hello" * 1000)
    system = FileSystems.get_filesystem("az://events/fs")
    assert gzip.decompress(container.download_blob("fs/a.txt.gz").readall()) == b"hello" * 1000
    assert system.size("az://events/fs/a.txt.gz") < 100
    assert system.last_updated("az://events/fs/a.txt.gz") > 1_700_000_000
    FileSystems.copy(["az://events/fs/a.txt.gz"], ["az://events/fs/b.txt.gz"])
    assert system.checksum("az://events/fs/b.txt.gz")
    FileSystems.rename(["az://events/fs/a.txt.gz"], ["az://events/fs/c.txt.gz"])
    assert names(container, "fs/") == ["fs/b.txt.gz", "fs/c.txt.gz"]
    with FileSystems.open("az://events/fs/c.txt.gz") as file:
        assert file.read() == b"hello" * 1000
    FileSystems.delete(["az://events/fs/", "az://events/fs/never-there"])
    assert names(container, "fs/") == []
    assert FileSystems.match(["az://events/fs/c.txt.gz"])[0].metadata_list == []
    assert FileSystems.join("az://events/", "a", "b") == "az://events/a/b"
    assert FileSystems.split("az://events/a/b") == ("az://events/a", "b")
    assert FileSystems.split("az://events") == ("az://events", "")
    with pytest.raises(FileNotFoundError, match="events/none"):
        FileSystems.open("az://events/none")
    with pytest.raises(BeamIOError, match="no such file"):
        system.size("az://events/none")
    with pytest.raises(BeamIOError, match="Not all"):
        FileSystems.rename(["az://events/none"], ["az://events/some"])
    folder = open_folder("az://events/folder")
    folder.write("x", b"one")
    assert folder.read("x") == b"one"
    assert folder.read("y") is None
    assert folder.names("") == ["x"]
    folder.remove("x")
    assert folder.names("") == []


def test_what_is_wrong_is_one_sentence(
    call: Call, container: ContainerClient, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(source: str) -> str:
        done = call("init", source, "-o", tmp_path / "m.yaml")
        assert done.code == 2
        assert len(done.err.splitlines()) == 2, done.err  # the sentence, and its code
        return done.err

    assert "No file matches az://events/none.csv" in said("az://events/none.csv")
    assert "az://nobody/x cannot be listed (" in said("az://nobody/x")
    assert "names no container: az://CONTAINER/PATH" in said("az:///x")
    assert "write az://events/a.csv." in said("azfs://devstoreaccount1/events/a.csv")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    needs = "az:// needs Azure's storage account. Set AZURE_STORAGE_CONNECTION_STRING"
    assert needs in said("az://events/in")
    with pytest.raises(SettingError, match="storage account"):
        open_folder("az://events/checkpoint")
    for text in ("s3cret", "AccountKey=s3cret"):
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        wrong = said("az://events/in")
        assert "AZURE_STORAGE_CONNECTION_STRING is not what az:// needs. Copy it from" in wrong
        assert "s3cret" not in wrong
