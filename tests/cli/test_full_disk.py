"""Every file that a command writes, on a disk that is full: which it is, why, and what to do."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

from mixpanel_sink.emulator.testing import Emulator

CASES = {
    "failed records": ("import", "events.jsonl", "--failed-output=full/failed"),
    "report": ("import", "good.jsonl", "--failed-output=kept/f", "--report=full/run.html"),
    "replay": ("replay", "kept/raw.jsonl", "--failed-output=full/failed"),
    "mapping": ("init", "good.jsonl", "-o", "full/made.yaml"),
    "status": ("status", "checkpoint", "--html=full/page.html"),
    "export": ("export", "--from={day}", "--to={day}", "-o", "full/days"),
    "lists": ("verify", "other.jsonl", "--report-dir=full/lists"),
    "temporary": ("verify", "events.jsonl"),
}
SAID = {
    "failed records": "the failed records full/failed*",
    "report": "the report full/run.html",
    "replay": "the failed records full/failed*",
    "mapping": "full/made.yaml",
    "status": "--html full/page.html",
    "export": "full/days-{day}.jsonl.gz",
    "lists": "The lists in full/lists",
    "temporary": "A temporary file in {folder}/full (TMPDIR)",
}
FAILS = {"mapping": 2, "status": 2}  # others: 1
RUN = """
import io, json, pathlib, resource, sys, tempfile
from contextlib import redirect_stderr
from mixpanel_sink.cli import main

pathlib.Path("full").mkdir()
tempfile.tempdir = str(pathlib.Path("full").absolute())
common, cases = json.load(sys.stdin)
main(["import", "good.jsonl", "--checkpoint=checkpoint", *common["import"]])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for name, words in cases.items():
    resource.setrlimit(resource.RLIMIT_FSIZE, (90_000 if name == "lists" else 100, hard))
    said = io.StringIO()
    with redirect_stderr(said):
        code = main([*words, *common.get(words[0], [])])
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    left = sorted(str(path) for path in pathlib.Path("full").rglob("*") if path.is_file())
    print("CASE", json.dumps([name, code, said.getvalue(), left]), flush=True)
"""


def records(path: pathlib.Path, name: str, count: int, bad: int = 0) -> None:
    now = int(time.time()) - 3600
    with path.open("w") as file:
        for n in range(count):
            event = "" if n < bad else name
            file.write(json.dumps({"e": event, "u": f"u{n}", "t": now, "x": "y" * 200}) + "\n")


def test_each_file_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    """The limit is the operating system's for the size of a file, in a process of its own."""
    records(tmp_path / "events.jsonl", "Seen", 300, bad=100)
    records(tmp_path / "good.jsonl", "Seen", 10)
    records(tmp_path / "other.jsonl", "Other", 1000)
    (tmp_path / "kept").mkdir()
    failed = {"reason": "timeout", "message": "", "event": {"event": "", "properties": {}}}
    (tmp_path / "kept/raw.jsonl").write_text(f"{json.dumps(failed)}\n" * 100)
    (tmp_path / "m.yaml").write_text("event: e\ndistinct_id: u\ntime: {column: t, unit: s}\n")
    with Emulator() as mixpanel:
        there = [f"--endpoint={mixpanel.url}", "--api-secret=env:FULL_SECRET"]
        mapping = "--mapping=m.yaml"
        run = [*there, "--quota=none", "--progress=none"]
        common = {
            "import": [*run, mapping],
            "replay": run,
            "verify": [*there, mapping],
            "export": there,
        }
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3600))
        cases = {name: [word.format(day=day) for word in words] for name, words in CASES.items()}
        done = subprocess.run(
            [sys.executable, "-c", RUN], cwd=tmp_path, input=json.dumps([common, cases]),
            env={**os.environ, "FULL_SECRET": mixpanel.api_secret},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    lines = [line[5:] for line in done.stdout.splitlines() if line.startswith("CASE ")]
    found = {name: others for name, *others in map(json.loads, lines)}
    assert found.keys() == cases.keys(), done.stdout + done.stderr
    for name, (code, said, _) in found.items():
        assert code == FAILS.get(name, 1), (name, code, said)
        what = SAID[name].format(day=day, folder=tmp_path)
        assert f"Error: {what}" in said, (name, said)
        assert "could not be written (File too large). Raise the limit of a file's size" in said
        assert "Traceback" not in said
    assert found["status"][2] == found["mapping"][2]  # what half there was is removed
