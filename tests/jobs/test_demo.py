"""The demo keeps the emulator until Ctrl-C, and finds a place for its files."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
import requests

from mixpanel_sink.cli import main
from mixpanel_sink.jobs import demo
from tests import virtual_environment

ROOT = pathlib.Path(__file__).parents[2]
CODE = "import sys; from mixpanel_sink.jobs import demo; sys.exit(demo.main(rows=2000, keep=True))"


def test_the_page_is_there_until_ctrl_c(tmp_path: pathlib.Path) -> None:
    (tmp_path / "demo-output").write_text("in the way")
    run = subprocess.Popen(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env=virtual_environment.without_clone(PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = ""
    assert run.stdout is not None
    try:
        for line in run.stdout:
            said += line
            if "until you press Ctrl-C" in line:
                break
        address = re.search(r"the events +(http://\S+)", said)
        assert address, said
        assert "<html" in requests.get(address[1], timeout=10).text
        report = re.search(r"the report +(\S+)", said)
        assert report
        assert pathlib.Path(report[1]).parent.name.startswith("mixpanel-demo-")
        assert "1,993 accepted" in pathlib.Path(report[1]).read_text()
    finally:
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_end_by_a_signal_is_said(
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "main", lambda keep: signal.raise_signal(number))
    # Processes that run tests in parallel ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["demo", "--no-keep"]) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Interrupted. Run the same command again: it starts over." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
