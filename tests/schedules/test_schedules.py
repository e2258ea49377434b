"""The files in examples/schedules. (`make airflow` runs the DAG in a real Airflow.)"""

from __future__ import annotations

import configparser
import copy
import fcntl
import json
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
import time
import types
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mixpanel_sink import __version__
from mixpanel_sink.cli import main as command
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs import import_files, status
from mixpanel_sink.settings.options import Settings
from tests.schedules.launch import FOLDER, ROOT, check

CRON = (FOLDER / "mixpanel-import.cron").read_text().splitlines()[-1]
SERVICE = configparser.ConfigParser(strict=True, interpolation=None)
SERVICE.optionxform = str  # type: ignore[assignment, method-assign]
SERVICE.read(FOLDER / "mixpanel-import.service")
WORKFLOW: dict[Any, Any] = yaml.safe_load((FOLDER / "github_actions.yaml").read_text())


def dag_launch(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The body in the DAG's file, read without Airflow."""

    class Anything:
        def __init__(self, *_: Any, **__: Any) -> None: ...
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None: ...

    names = {
        "airflow.sdk": "DAG",
        "airflow.providers.google.cloud.operators.dataflow": "DataflowStartFlexTemplateOperator",
    }
    for name, attribute in names.items():
        module = types.ModuleType(name)
        setattr(module, attribute, Anything)
        monkeypatch.setitem(sys.modules, name, module)
    body = json.dumps(runpy.run_path(str(FOLDER / "airflow_dag.py"))["LAUNCH"])
    return dict(json.loads(re.sub(r"\{\{.*?\}\}", "42", body)))  # what Airflow fills in


def test_the_launches_fit_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    dag = dag_launch(monkeypatch)
    scheduler = json.loads((FOLDER / "cloud_scheduler.json").read_text())
    for body in (dag, scheduler):
        assert check(body) == []
        assert body["launchParameter"]["containerSpecGcsPath"].endswith(f"-{__version__}.json")
    wrong = copy.deepcopy(scheduler)
    parameters = wrong["launchParameter"]["parameters"]
    parameters |= {"mixpanel_region": "europe-west1", "inptu": "gs://b/a"}
    del parameters["mapping"]
    assert check(wrong) == [
        "mixpanel_region is 'europe-west1', which ^(us|eu|in)$ does not match",
        "the template has no parameter inptu",
        "mapping is missing",
    ]


def commands() -> dict[str, str]:
    """Every command of ours in the files."""
    dbt = (FOLDER / "dbt_build.sh").read_text().replace("\\\n", " ")
    (step,) = (
        each
        for each in WORKFLOW["jobs"]["import"]["steps"]
        if "mixpanel-sink import" in each.get("run", "")
    )
    texts = {
        "cron": CRON,
        "systemd": SERVICE["Service"]["ExecStart"],
        "dbt": dbt,
        "github": step["run"],
    }
    return {
        name: re.sub(r"\$\{\{.*?\}\}", "42", text[text.rindex("mixpanel-sink import") :]).partition(
            " >> "
        )[0]
        for name, text in texts.items()
    }


@pytest.mark.parametrize("name", ["cron", "systemd", "dbt", "github"])
def test_the_commands_are_understood(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """As far as the command line goes: every option is known and has a value that it takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", "s")
    seen: list[Settings] = []

    def start(settings: Settings, *_: Any) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(import_files, "start", start)
    # One of the checkpoints is in a bucket that there is not.
    monkeypatch.setattr(status, "left_after", lambda settings: None)
    assert command(shlex.split(commands()[name])[1:]) == 0
    (settings,) = seen
    assert settings.run_property == "import_run"
    assert settings.notify == "env:SLACK_WEBHOOK"
    assert settings.api_secret == "env:MIXPANEL_API_SECRET"
    assert bool(settings.checkpoint) is (name != "dbt")


def test_cron_runs_and_does_not_run_twice_at_a_time(tmp_path: pathlib.Path) -> None:
    """The line itself, by /bin/sh, on another folder and endpoint."""
    *times, user, line = CRON.split(None, 6)
    assert user == "mixpanel"
    assert len(times) == 5
    bin = pathlib.Path(sys.executable).parent
    (tmp_path / "events").mkdir()
    now = int(time.time() * 1000)
    table = pa.table({"name": ["A", "B"], "user": ["u", "v"], "at": [now, now + 1]})
    pq.write_table(table, tmp_path / "events/a.parquet")
    (tmp_path / "mapping.yaml").write_text(
        "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"
    )
    with Emulator(quota="none") as mixpanel:
        (tmp_path / "environment").write_text(
            f"MIXPANEL_API_SECRET={mixpanel.api_secret}\nSLACK_WEBHOOK=http://127.0.0.1:9/\n"
        )
        line = line.replace("/srv/mixpanel", str(tmp_path)).replace(
            "--region eu", f"--endpoint {mixpanel.url}"
        )
        environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

        def run() -> int:
            return subprocess.run(["/bin/sh", "-c", line], env=environment, check=False).returncode

        with open(tmp_path / "import.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert run() == 0
        assert not mixpanel.stats()["requests"]
        assert run() == 0, (tmp_path / "import.log").read_text()
        events = mixpanel.events(10)
    assert {each["event"] for each in events} == {"A", "B"}
    assert all(each["properties"]["import_run"] for each in events)


def test_systemd_does_not_try_a_wrong_setting_again() -> None:
    service = SERVICE["Service"]
    assert service["Type"] == "oneshot"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].startswith("/usr/bin/flock --nonblock --conflict-exit-code 0 ")
    timer = configparser.ConfigParser(strict=True)
    timer.read(FOLDER / "mixpanel-import.timer")
    assert timer["Timer"]["OnCalendar"].endswith(" UTC")
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_the_workflow_never_runs_twice_at_a_time() -> None:
    assert WORKFLOW["concurrency"] == {"group": "mixpanel-import", "cancel-in-progress": False}
    assert WORKFLOW[True]["schedule"]  # YAML 1.1 reads "on" as true
    steps = WORKFLOW["jobs"]["import"]["steps"]
    (step,) = (each for each in steps if "env" in each)
    assert all(value.startswith("${{ secrets.") for value in step["env"].values())


@pytest.mark.parametrize("name", ["cloud_scheduler.sh", "dbt_build.sh"])
def test_the_scripts_are_scripts(name: str) -> None:
    assert os.access(FOLDER / name, os.X_OK)
    subprocess.run(["sh", "-n", str(FOLDER / name)], check=True)
