"""From files on s3:// (moto's server) and az:// (Azurite) to a verified import; failed records,
checkpoint and report are there, too. tests/jobs/test_cloud_storage.py does the same on gs://."""

from __future__ import annotations

import gc
import gzip
import io
import json
import pathlib
import types
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.aws.s3io import S3IO
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from azure.storage.blob import ContainerClient

from mixpanel_sink import extras
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.files import match_files, open_file
from tests.cli.conftest import Call
from tests.cloud_storage import emulated_container, moto_bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """Named "events"."""
    with moto_bucket("events") as made:
        yield made


@pytest.fixture(scope="module")
def container() -> Iterator[ContainerClient]:
    """Named "events"."""
    with emulated_container() as made:
        yield made


class Store(Protocol):
    """One of the clouds, by its own client."""

    root: str

    def put(self, name: str, content: bytes) -> None: ...
    def get(self, name: str) -> bytes: ...
    def names(self, prefix: str) -> list[str]: ...


class S3:
    root = "s3://events"

    def __init__(self, bucket: Any) -> None:
        self.bucket = bucket

    def put(self, name: str, content: bytes) -> None:
        self.bucket.put_object(Key=name, Body=content)

    def get(self, name: str) -> bytes:
        content: bytes = self.bucket.Object(name).get()["Body"].read()
        return content

    def names(self, prefix: str) -> list[str]:
        return [each.key for each in self.bucket.objects.filter(Prefix=prefix)]


class Azure:
    root = "az://events"

    def __init__(self, container: ContainerClient) -> None:
        self.container = container

    def put(self, name: str, content: bytes) -> None:
        self.container.upload_blob(name, content, overwrite=True)

    def get(self, name: str) -> bytes:
        return self.container.download_blob(name).readall()

    def names(self, prefix: str) -> list[str]:
        return [each.name for each in self.container.list_blobs(prefix)]


@pytest.fixture(params=["s3", "az"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "s3":
        return S3(request.getfixturevalue("bucket"))
    return Azure(request.getfixturevalue("container"))


def parquet(rows: int, first: int = 0) -> bytes:
    users = [*(f"u{first + i}" for i in range(rows - 1)), None]
    at = pa.array([1_714_557_600 + first + i for i in range(rows)], pa.timestamp("s", "UTC"))
    out = io.BytesIO()
    pq.write_table(pa.table({"user": users, "at": at}), out)
    return out.getvalue()


def test_from_files_to_a_verified_import(
    call: Call,
    mixpanel: Emulator,
    store: Store,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    store.put("in/kind=Order/land=S%C3%A3o/a.parquet", parquet(40))
    store.put("in/kind=View/land=__HIVE_DEFAULT_PARTITION__/a.parquet", parquet(20, 40))
    store.put("in/_temporary/kind=View/a.parquet", parquet(5))
    folder = f"{store.root}/in"

    made = call("init", f"{folder}/")
    assert made.code == 0, made.err
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("event: kind\ntime: at\ndistinct_id: user\n")
    where = ("-m", mapping, "--endpoint", mixpanel.url)
    more = ("--failed-output", f"{store.root}/failed/run")
    more += ("--checkpoint", f"{store.root}/checkpoint")
    sent = call("import", folder, *where, *more)
    assert "60 read = 58 accepted + 2 failed" in sent.out, sent.out + sent.err
    found = [(e["event"], e["properties"].get("land")) for e in mixpanel.events()]
    assert sorted(map(str, found)) == ["('Order', 'São')"] * 39 + ["('View', None)"] * 19
    (failed,) = store.names("failed/")
    lines = [json.loads(line) for line in store.get(failed).splitlines()]
    assert sorted(line["file"] for line in lines) == match_files(folder)
    assert store.names("checkpoint/")
    assert "all 58 events" in call("verify", folder, *where).out

    before = mixpanel.stats()["requests_by_endpoint"]["/import"]
    store.put("in/kind=View/land=FR/b.parquet", parquet(10, 60))
    again = call("import", folder, *where, *more)
    assert "10 read = 9 accepted + 1 failed" in again.out, again.out + again.err
    # The checkpoint knows all others.
    assert mixpanel.stats()["requests_by_endpoint"]["/import"]["200"] == before["200"] + 1
    mapping.write_text("event: kind\ntime: at\ndistinct_id: {column: user, if_null: guest}\n")
    replayed = call("replay", f"{store.root}/failed/*.jsonl", *where)
    assert "3 read = 3 accepted" in replayed.out, replayed.out + replayed.err
    assert mixpanel.stats()["events_distinct"] == 70
    report = ("--report-dir", f"{store.root}/report")
    assert call("verify", f"{folder}/kind=*/**/*.parquet", *where, *report).code == 0


def test_an_empty_file(store: Store) -> None:
    extras.require(store.root)
    with FileSystems.create(f"{store.root}/empty/a.txt"):
        pass
    assert store.get("empty/a.txt") == b""


def test_one_client_for_all_files_on_s3(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def client() -> Any:
        return S3IO(options=PipelineOptions([])).client

    extras.require("s3://events/a.csv")
    assert "mixpanel_sink.s3_clients" in extras.plugins()
    first, second = client(), client()
    assert first is not second  # each remembers its download
    assert first.client is second.client
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert client().client is not first.client


def test_a_client_for_s3_that_was_used_for_long_is_dropped(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    extras.require("s3://events/a.csv")
    from mixpanel_sink import s3_clients

    clients = []
    for now in (0, 1000, 2000):
        monkeypatch.setattr(s3_clients, "time", types.SimpleNamespace(monotonic=lambda at=now: at))
        clients.append(weakref.ref(S3IO(options=PipelineOptions([])).client.client))
    gc.collect()
    assert [client() is None for client in clients] == [True, True, False]


def test_without_credentials_s3_is_one_sentence_at_once(
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


def test_packed_text_and_names_with_brackets_on_azure(
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


def test_azures_file_system(container: ContainerClient) -> None:
    extras.require("az://events")
    assert "mixpanel_sink.azure_blobs" in extras.plugins()
    with FileSystems.create("az://events/fs/a.txt.gz") as file:  # packed by its name
        file.write(b"hello" * 1000)
    system = FileSystems.get_filesystem("az://events/fs")
    assert gzip.decompress(container.download_blob("fs/a.txt.gz").readall()) == b"hello" * 1000
    assert system.size("az://events/fs/a.txt.gz") < 100
    assert system.last_updated("az://events/fs/a.txt.gz") > 1_700_000_000
    FileSystems.copy(["az://events/fs/a.txt.gz"], ["az://events/fs/b.txt.gz"])
    assert system.checksum("az://events/fs/b.txt.gz")
    FileSystems.rename(["az://events/fs/a.txt.gz"], ["az://events/fs/c.txt.gz"])
    assert Azure(container).names("fs/") == ["fs/b.txt.gz", "fs/c.txt.gz"]
    with FileSystems.open("az://events/fs/c.txt.gz") as file:
        assert file.read() == b"hello" * 1000
    FileSystems.delete(["az://events/fs/", "az://events/fs/never-there"])
    assert Azure(container).names("fs/") == []
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


def test_folders_of_a_hierarchical_namespace_are_not_files(container: ContainerClient) -> None:
    container.upload_blob("tree/day", b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob("tree/day/a.csv", b"a\n1\n", metadata={"by": "me"})
    for pattern in ("az://events/tree", "az://events/tree/day", "az://events/tree/**"):
        assert match_files(pattern) == ["az://events/tree/day/a.csv"]


def test_a_blob_that_changes_while_it_is_read_is_not_a_mixture(container: ContainerClient) -> None:
    container.upload_blob("changing.csv", b"a" * 5_000_000)
    with open_file("az://events/changing.csv") as file:
        assert file.read(10) == b"a" * 10
        container.upload_blob("changing.csv", b"b" * 5_000_000, overwrite=True)
        with pytest.raises(OSError, match=r"changing\.csv was changed while it was read"):
            file.read()


def test_what_is_wrong_with_azure_is_one_sentence(
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
    wrong_key = "AccountName=abc;AccountKey=s3cret"
    for text in ("s3cret", "AccountKey=s3cret", wrong_key, "AccountName=a_b;AccountKey=s3cretAA"):
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        wrong = said("az://events/in")
        assert "AZURE_STORAGE_CONNECTION_STRING is not what az:// needs. Copy it from" in wrong
        assert "s3cret" not in wrong
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "https://shop.blob.core.windows.net")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "s3cretAA")
    assert "AZURE_STORAGE_ACCOUNT is not what az:// needs." in said("az://events/in")
