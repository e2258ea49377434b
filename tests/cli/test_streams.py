"""Standard output and error that are closed, full or not read, or whose encoding lacks letters."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from mixpanel_sink.emulator.testing import Emulator

COMMAND = [sys.executable, "-m", "mixpanel_sink.cli"]


def run(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    given = {"stderr": subprocess.PIPE, "text": True, "check": False, **more}
    return subprocess.run([*COMMAND, *words], **given)  # type: ignore[call-overload,no-any-return]


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="Linux has it")
def test_what_could_not_be_printed_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        done = run("explain", "MXS501", stdout=full)
    assert done.returncode == 1
    said = "Error: Standard output could not be written (No space left on device). Free some space"
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream(closed: int) -> None:
    done = run("explain", "MXS501", stdout=subprocess.PIPE, preexec_fn=lambda: os.close(closed))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("MXS501") or closed == 1


def test_an_encoding_without_the_letters() -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("import", "--help", stdout=subprocess.PIPE, env={**os.environ, **ascii_only})
    assert done.returncode == 0, done.stderr
    assert "FILES\\u2026" in done.stdout


def test_a_name_that_is_not_text(tmp_path: pathlib.Path) -> None:
    name = os.fsdecode(b"odd\xff.jsonl")
    done = run("init", name, stdout=subprocess.PIPE, cwd=tmp_path)
    assert done.returncode == 2
    assert "is not text in this machine's encoding, utf-8. Rename the file" in done.stderr


def test_an_import_goes_on_when_nobody_reads_its_output(tmp_path: pathlib.Path) -> None:
    event = {"e": "Seen", "u": "a", "t": int(time.time()) - 60}
    (tmp_path / "events.jsonl").write_text(json.dumps(event))
    (tmp_path / "m.yaml").write_text("event: e\ndistinct_id: u\ntime: {column: t, unit: s}\n")
    read, write = os.pipe()
    os.close(read)
    with Emulator() as mixpanel:
        done = run(
            *("import", "events.jsonl", "-m", "m.yaml", f"--endpoint={mixpanel.url}"),
            *("--api-secret=env:SECRET_OF_STREAMS", "--report=run.html", "--run-property=run"),
            stdout=write,
            cwd=tmp_path,
            env={**os.environ, "SECRET_OF_STREAMS": mixpanel.api_secret},
        )
        assert mixpanel.stats()["events_accepted"] == 1
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert "Broken" not in done.stderr
    assert (tmp_path / "run.json").exists()
