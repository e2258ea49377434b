"""The user's day: what went wrong yesterday must not stand in today's way, and what a command says
to do next must be right."""

from __future__ import annotations

import json
import pathlib
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.checkpoint.manifest import Manifest
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs import soon
from mixpanel_sink.process import forget
from tests.cli.conftest import Call

MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: s}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(quota="none", export_quotas="none") as running:
        yield running


@pytest.fixture
def mixpanel(
    server: Emulator, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    server.reset(quota="none")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", server.api_secret)
    pathlib.Path("m.yaml").write_text(MAPPING)
    pathlib.Path("by_n.yaml").write_text(MAPPING + "insert_id: n\n")
    forget()
    yield server
    forget()


def write(path: str, first: int = 0, count: int = 20, **more: list[object]) -> None:
    numbers = list(range(first, first + count))
    columns = {
        "name": ["Visit"] * count,
        "user": [f"u{n}" for n in numbers],
        "at": [1_760_000_000 + n for n in numbers],
        "n": numbers,
    }
    pq.write_table(pa.table(columns | more), path)


@pytest.mark.parametrize("wrong", ["secret", "region"])
def test_a_checkpoint_that_met_the_wrong_project_first(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Nothing was accepted, so that the right one may have it. Afterwards it is the right one's."""
    write("a.parquet")
    here = ("import", "a.parquet", "-m", "by_n.yaml", "--checkpoint", "cp")
    monkeypatch.setenv("OTHER", "wrong")
    if wrong == "secret":
        failed = call(*here, "--endpoint", mixpanel.url, "--api-secret", "env:OTHER")
        assert "does not accept the API secret" in failed.err
    else:
        mixpanel.faults([{"kind": "status", "status": 403}])
        url = mixpanel.url.replace("127.0.0.1", "localhost")
        failed = call(*here, "--endpoint", url)
    assert failed.code == 1
    forget()
    done = call(*here, "--endpoint", mixpanel.url)
    assert done.code == 0, done.err
    assert "20 read = 20 accepted + 0 failed" in done.out
    forget()
    refused = call(*here, "--endpoint", mixpanel.url, "--api-secret", "env:OTHER")
    assert refused.code == 2
    assert "belongs to another project or region" in refused.err
    # As that says, where the secret is a new one.
    assert "remove checkpoint.json from the folder: imported files stay known." in refused.err
    pathlib.Path("cp/checkpoint.json").unlink()
    forget()
    requests = mixpanel.stats()["requests"]
    again = call(*here, "--endpoint", mixpanel.url)
    assert "1 file was imported before, 0 are new." in again.out
    assert mixpanel.stats()["requests"] == requests


def test_several_projects_beside_a_secret_in_the_environment(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the credentials. One project's verify would not prove several."""
    write("a.parquet", shop=["one"] * 19 + ["two"])
    monkeypatch.setenv("ONE", mixpanel.api_secret)
    project = {"api_secret": "env:ONE", "endpoint": mixpanel.url}
    pathlib.Path("projects.yaml").write_text(json.dumps({"one": project, "two": project}))
    several = ("--projects", "projects.yaml", "--destination", "shop")
    done = call("import", "a.parquet", "-m", "by_n.yaml", *several, "--report", "run.html")
    assert done.code == 0, done.err
    assert "20 read = 20 accepted + 0 failed" in done.out
    assert "verify" not in done.out
    assert json.loads(pathlib.Path("run.json").read_text())["next_steps"] == []
    pathlib.Path("projects.yaml").write_text(json.dumps({"projects": {"one": project}}))
    done = call("import", "a.parquet", "-m", "by_n.yaml", *several)
    assert done.code == 2
    assert "'one' is unknown. The file's keys are the names of projects" in done.err


def test_verify_does_not_send_moved_files_again(call: Call, mixpanel: Emulator) -> None:
    """Ids from position are others in a file that has changed, so that "import again" would double
    what is there."""
    write("a.parquet")
    assert call("import", "a.parquet", "-m", "m.yaml", "--endpoint", mixpanel.url).code == 0
    write("a.parquet", count=21)
    done = call("verify", "a.parquet", "-m", "m.yaml", "--endpoint", mixpanel.url)
    assert done.code == 1
    assert "21 of 21 events are missing and 20 events in Mixpanel are not in the input" in done.out
    assert "under other ids, and importing it again would double them" in done.out
    assert "Next:" not in done.out
    assert call("import", "a.parquet", "-m", "by_n.yaml", "--endpoint", mixpanel.url).code == 0
    write("a.parquet", count=22)
    done = call("verify", "a.parquet", "-m", "by_n.yaml", "--endpoint", mixpanel.url)
    assert "1 of 22 events is missing" in done.out
    assert "Next: import what is missing; nothing is doubled: mixpanel-sink import" in done.out


def test_verify_that_could_not_ask_proposes_no_import(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.parquet")
    monkeypatch.setenv("MIXPANEL_API_SECRET", "wrong")
    done = call("verify", "a.parquet", "-m", "m.yaml", "--endpoint", mixpanel.url)
    assert done.code == 1
    assert "Next:" not in done.out


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_a_condition_that_fits_no_type_is_refused_before_anything_is_sent(
    call: Call, mixpanel: Emulator, name: str
) -> None:
    write("a.parquet")
    pathlib.Path("a.csv").write_text("name,user,at,n\nVisit,u1,1760000000,7\n")
    for command in ("import", "check"):
        more = ("--endpoint", mixpanel.url, "--types", "at=integer")[: 4 if "csv" in name else 2]
        done = call(command, name, "-m", "m.yaml", "--where", "name > 1", *more)
        assert done.code == 2
        assert "where cannot be evaluated: cannot compare string with numeric type" in done.err
    assert mixpanel.stats()["requests"] == 0
    done = call("check", "a.parquet", "-m", "m.yaml", "--where", "name > 'A' AND n < 5")
    assert done.code == 0, done.err


def test_no_records_are_no_fault_of_the_mapping(call: Call, mixpanel: Emulator) -> None:
    """A day without events, as for `import`."""
    write("a.parquet", count=0)
    pathlib.Path("a.csv").write_text("name,user,at,n\n")
    for name in ("a.parquet", "a.csv"):
        done = call("check", name, "-m", "m.yaml")
        assert done.code == 0, done.err
        assert "The input has no records; an import would send nothing." in done.out
        assert "edit" not in done.out
        assert call("import", name, "-m", "m.yaml", "--endpoint", mixpanel.url).code == 0


def test_a_folder_without_files_is_said_to_be_empty(call: Call, mixpanel: Emulator) -> None:
    pathlib.Path("in").mkdir()
    done = call("import", "in", "-m", "m.yaml", "--endpoint", mixpanel.url)
    assert done.code == 2
    assert "/in, an empty folder. Check the path." in done.err


def test_a_mapping_of_profiles_names_its_endpoint(call: Call, mixpanel: Emulator) -> None:
    write("a.parquet")
    pathlib.Path("p.yaml").write_text("distinct_id: user\nset: [n]\n")
    done = call("import", "a.parquet", "-m", "p.yaml", "--endpoint", mixpanel.url)
    assert done.code == 2
    assert "'set' is unknown. Did you mean 'shape'?" in done.err
    assert "It is a mapping for --endpoint-kind engage." in done.err


def test_ctrl_c_before_a_run(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are listed and compared before anything is sent, which may take minutes."""
    write("a.parquet")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mixpanel_sink.jobs.mappings.text_of", interrupted)
    for command in ("import", "check"):
        done = call(command, "a.parquet", "-m", "m.yaml")
        assert done.code == 130
        assert "Interrupted. Nothing was sent. Run the same command again." in done.err


def test_a_list_of_lookup_tables_needs_a_service_account(call: Call, mixpanel: Emulator) -> None:
    done = call("lookup-table", "list", "--endpoint", mixpanel.url)
    assert done.code == 1
    assert "a list of tables asks for a service account.\n  MXS203: mixpanel-sink" in done.err


def test_what_was_given_up_is_sent_by_the_next_import(call: Call, mixpanel: Emulator) -> None:
    """With a checkpoint the next run sends it, so that this is the next step: neither `verify`,
    which would find it missing, nor a replay, which would send it a second time."""
    write("a.parquet")
    here = ("import", "a.parquet", "-m", "by_n.yaml", "--endpoint", mixpanel.url)
    hasty = ("--batch-events", "10", "--transient-seconds", "0.2", "--first-wait", "0.1")
    mixpanel.faults([{"kind": "status", "status": 503, "times": 99, "skip": 1}])
    done = call(*here, *hasty, "--checkpoint", "cp", "--report", "run.html")
    assert "20 read = 10 accepted + 10 failed" in done.out
    last = done.out.splitlines()[-1]
    said = "Next: run the same import again; it goes on with files that are not complete"
    assert last == said
    step = json.loads(pathlib.Path("run.json").read_text())["next_steps"][0]
    assert step["command"].startswith("mixpanel-sink import 'a.parquet' --mapping by_n.yaml")
    mixpanel.faults([])
    forget()
    done = call(*here, *hasty, "--checkpoint", "cp")
    assert "20 read = 20 accepted + 0 failed" in done.out
    assert "Next: mixpanel-sink verify" in done.out


def test_a_replay_of_one_reason_proposes_all_that_are_left(call: Call, mixpanel: Emulator) -> None:
    write("a.parquet", user=["null", None, *["u"] * 18])
    here = ("-m", "by_n.yaml", "--endpoint", mixpanel.url, "--checkpoint", "cp")
    done = call("import", "a.parquet", *here)
    assert "20 read = 18 accepted + 2 failed" in done.out
    forget()
    done = call("replay", "failed/*.jsonl", *here, "--only", "distinct_id_null")
    assert "1 read = 0 accepted + 1 failed" in done.out
    assert "failures that are left, then mixpanel-sink replay" in done.out
    assert "--only" not in done.out


def test_the_last_lines_do_not_wait_for_a_checkpoint_out_of_reach(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's client retries for two minutes, and they are good to know but not needed."""
    write("a.parquet")
    gone, load = threading.Event(), Manifest.load

    def loaded(folder: Folder) -> Manifest:
        if gone.is_set():
            threading.Event().wait()  # for ever: its thread does not keep the process
        return load(folder)

    def reading(*given: object) -> None:
        del given
        gone.set()

    monkeypatch.setattr(soon, "SECONDS", 0.05)
    monkeypatch.setattr(Manifest, "load", loaded)
    monkeypatch.setattr("mixpanel_sink.jobs.run.outcome.print_projects", reading)
    done = call(
        "import", "a.parquet", "-m", "by_n.yaml", "--endpoint", mixpanel.url, "--checkpoint", "cp"
    )
    assert done.code == 0
    assert "20 read = 20 accepted + 0 failed" in done.out
    assert "Checkpoint:" not in done.out
