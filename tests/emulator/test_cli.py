"""The command line: mistakes, exit codes, the ready line, a clean end."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from mixpanel_sink.emulator.testing import Client, Emulator, EmulatorError

SECRET = "very-secret-4711"


def _environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MIXPANEL_")}
    root = str(Path(__file__).resolve().parents[2])
    return {**clean, "PYTHONPATH": root, "COLUMNS": "200"}


def _run(*args: str, module: str = "mixpanel_sink.cli") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        capture_output=True,
        text=True,
        timeout=60,
        env=_environment(),
        check=False,
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no credentials"),
        (["--quota", "many"], "60/hour"),
        (["--quota", "5/hour", "--requests-per-hour", "5"], "not both"),
        (["--requests-per-hour", "0"], "at least 1"),
        (["--variant", "other"], "page, reference"),
        (["--region", "mars"], "us, eu, in"),
        (["--service-account", "nobody"], "USER:SECRET"),
        (["--service-account", "a:b"], "--project-id"),
        (["--port", "http"], "port"),
        (["--port", "99999"], "99999"),
        (["--colour", "red"], "colour"),
        (["--fault-plan", "/nowhere.json"], "/nowhere.json"),
        (["--fault-seed", "1"], "--fault-rate"),
        (["--fault-rate", "2"], "0 to 1"),
        (["--log-level", "loud"], "log-level"),
        (["--db", "/nowhere/at/all.db"], "/nowhere/at/all.db"),
        (["--host", "203.0.113.7"], "203.0.113.7"),
        (["--projects", "/nowhere.yaml"], "not both"),
        (["--identity-mode", "other"], "simplified, original, legacy"),
        (["--export-quotas", "many"], "60/hour"),
        (["--export-shape", "odd"], "mixpanel, sent"),
        (["--strict-count", "odd"], "num_good_events"),
        (["--fault-rate", "0.1", "--fault-kinds", "odd"], "random, fatal, all"),
        (["--tls-certificate", "x.pem"], "--tls"),
        (["--tls", "--tls-certificate", "/nowhere/at/all.pem"], "/nowhere/at/all.pem"),
    ],
)
def test_mistakes(args: list[str], says: str) -> None:
    secret = [] if not args else ["--api-secret", SECRET]
    done = _run("emulator", *secret, *args)
    assert done.returncode == 2, done
    assert says in done.stderr
    said, *code = done.stderr.splitlines()
    assert says in said
    assert len(code) <= 1
    assert all(line.startswith("  MXS") for line in code)
    assert done.stdout == ""
    assert SECRET not in done.stderr


def test_projects_file_that_is_missing() -> None:
    done = _run("emulator", "--projects", "/nowhere.yaml")
    assert done.returncode == 2
    assert "/nowhere.yaml" in done.stderr
    assert done.stderr.count("\n") == 1


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = _run("emulator", "--api-secret", SECRET, "--port", port)
    assert done.returncode == 2
    assert port in done.stderr
    assert done.stderr.count("\n") == 1


def test_broken_fault_plan(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    for text in ("{", '[{"kind": "flood"}]'):
        plan.write_text(text)
        done = _run("emulator", "--api-secret", SECRET, "--fault-plan", str(plan))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("args", [["--help"], ["emulator", "--help"]])
def test_help(args: list[str]) -> None:
    done = _run(*args)
    assert done.returncode == 0
    assert "emulator" in done.stdout


def test_module_takes_the_same_options() -> None:
    done = _run("--quota", "many", "--api-secret", SECRET, module="mixpanel_sink.emulator")
    assert done.returncode == 2
    assert "60/hour" in done.stderr


def test_missing_packages_are_named() -> None:
    code = (
        "import sys; sys.modules['{}'] = None\n"
        "from mixpanel_sink.cli import main; sys.exit(main({}))"
    )
    for package in ("starlette", "uvicorn", "msgspec"):
        script = code.format(package, ["emulator", "--api-secret", "s"])
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done
        assert "pip install 'mixpanel-sink[emulator]'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ready_line_and_clean_end(number: int) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mixpanel_sink.cli", "emulator", "--port", "0"),
            *("--region", "eu", "--log-level", "debug"),
        ],
        env={**_environment(), "MIXPANEL_API_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.split()[3]
    assert line == f"mixpanel emulator on {url} (variant page, 60 requests/hour, region eu)\n"
    assert url.startswith("http://127.0.0.1:")
    answer = requests.post(
        url + "/import",
        json=[{"event": "a", "properties": {"time": 1_700_000_000, "distinct_id": "u"}}],
        auth=(SECRET, ""),
        timeout=10,
    )
    assert answer.json()["status"] == 1
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert SECRET not in out + err
    assert "Traceback" not in err


def test_it_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os, sys\n"
        "from mixpanel_sink.emulator.testing import Emulator\n"
        "e = Emulator(); e.start(); print(e.url, e.pid, flush=True); os._exit(1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=60,
        check=False,
    )
    url, _ = done.stdout.split()
    # Its stderr is a file and its stdout our pipe: run() came back, so the emulator has ended
    # or is about to.
    for _ in range(100):
        try:
            requests.get(url + "/emulator/stats", timeout=5)
        except requests.ConnectionError:
            return
        time.sleep(0.1)
    raise AssertionError("the emulator outlived its parent")


def test_database_is_kept(tmp_path: Path) -> None:
    db = tmp_path / "kept.db"
    event = {
        "event": "a",
        "properties": {"time": 1_700_000_000, "distinct_id": "u", "$insert_id": "i"},
    }
    emulator = Emulator(db=db)
    for run in (1, 2):
        with emulator:
            requests.post(
                emulator.url + "/import", json=[event], auth=(emulator.api_secret, ""), timeout=10
            )
            stats = emulator.stats()
            assert (stats["events_distinct"], stats["requests"]) == (1, run)
            assert emulator.events() == [event]


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    db = tmp_path / "old.db"
    connection = sqlite3.connect(db)
    connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, json BLOB NOT NULL)")
    connection.close()
    before = db.read_bytes()
    done = _run("emulator", "--api-secret", SECRET, "--db", str(db))
    assert done.returncode == 2
    assert f"cannot open the database {db}: another version of the emulator" in done.stderr
    assert "delete this one" in done.stderr
    assert done.stderr.count("\n") == 1
    assert db.read_bytes() == before


def test_start_failure_says_why() -> None:
    with pytest.raises(EmulatorError, match="60/hour"):
        Emulator(quota="many").start()


def test_faults_and_restart_at_the_same_address() -> None:
    emulator = Emulator(faults=[{"kind": "status"}], max_batch=7)
    with pytest.raises(EmulatorError, match="the emulator is not running"):
        emulator.events()
    with pytest.raises(EmulatorError, match=r"no emulator answers at http://127\.0\.0\.1:1: "):
        Client("http://127.0.0.1:1").stats()
    with emulator:
        url = emulator.url
        assert emulator.remaining_faults() == [{"kind": "status"}]
        assert emulator.settings()["max_batch"] == 7
    with emulator:
        assert emulator.url == url
