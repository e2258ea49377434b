"""--endpoint-kind, --projects and --destination through the command line."""

from __future__ import annotations

import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.configured import quota_of
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs import outcome
from mixpanel_sink.jobs.watch import Standing
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.quota import Quota
from pipelines.replay_failed import main as replay

NOW_MS = int(time.time() * 1000) - 3_600_000
NAMES = {"alpha": 1, "beta": 2}
Send = Callable[..., Any]


@pytest.fixture(scope="module")
def _projects() -> Iterator[Emulator]:
    given = [
        {"id": number, "token": f"token-{name}-0123456", "api_secret": f"secret-{name}-012345"}
        for name, number in NAMES.items()
    ]
    with Emulator(projects=given, variant="reference") as running:
        yield running


@pytest.fixture
def server(_projects: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Instead of the usual one: an emulator with two projects."""
    _projects.reset(quota="none")
    for name in NAMES:
        monkeypatch.setenv(f"SECRET_{name}", f"secret-{name}-012345")
        monkeypatch.setenv(f"TOKEN_{name}", f"token-{name}-0123456")
    return _projects


def source(path: pathlib.Path, **columns: Any) -> pathlib.Path:
    rows = len(next(iter(columns.values())))
    plain = {
        "name": ["Visit"] * rows,
        "user": [f"u{n}" for n in range(rows)],
        "at": [NOW_MS] * rows,
    }
    pq.write_table(pa.table({**plain, **columns}), path / "a.parquet")
    return path / "a.parquet"


def projects_file(path: pathlib.Path, url: str, **more: str) -> str:
    lines = []
    for name in NAMES:
        lines += [
            f"{name}:", f"  api_secret: env:SECRET_{name}", f"  project_token: env:TOKEN_{name}",
            f"  endpoint: {url}", f"  quota: {more.get(name, 'none')}",
        ]  # fmt: skip
    (path / "projects.yaml").write_text("\n".join(lines))
    return f"--projects={path}/projects.yaml"


ONE = ["--api-secret=", "--endpoint=", "--quota="]
"""Empty options instead of those that the fixture gives for one project."""


def test_track(send: Send, server: Emulator, tmp_path: pathlib.Path) -> None:
    old = NOW_MS - 6 * 86_400_000
    table = source(tmp_path, at=[NOW_MS, old, NOW_MS])
    run = send(table, "--endpoint-kind=track", "--project-token=env:TOKEN_alpha", "--api-secret=")
    assert run.code == 0, run.err
    assert "3 read = 2 accepted + 1 failed" in run.out
    assert [line["reason"] for line in run.failed] == ["too_old_for_track"]
    assert server.stats()["requests_by_endpoint"] == {"/track": {"200": 1}}
    assert {e["properties"]["token"] for e in server.events()} == {"token-alpha-0123456"}


def test_profiles_and_groups(send: Send, server: Emulator, tmp_path: pathlib.Path) -> None:
    table = source(tmp_path, plan=["pro", "free"], logins=[1, 2])
    token = ("--project-token=env:TOKEN_alpha", "--api-secret=")
    mapping = "distinct_id: user\nset: [plan]\nadd: [logins]\n"
    run = send(table, "--endpoint-kind=engage", *token, mapping=mapping)
    assert run.code == 0, run.err
    assert {p["$distinct_id"]: p["properties"] for p in server.profiles()} == {
        "u0": {"plan": "pro", "logins": 1}, "u1": {"plan": "free", "logins": 2}
    }  # fmt: skip
    sent = sum(entry["body_bytes"] for entry in server.requests())
    assert re.search(r"bytes sent +([0-9,]+)", run.out)[1] == f"{sent:,}"  # as it went, no gzip
    mapping = "group_key: {constant: company}\ngroup_id: user\nset: [plan]\n"
    run = send(table, "--endpoint-kind=groups", *token, "--lanes=1", mapping=mapping)
    assert run.code == 0, run.err
    assert server.group("company", "u1")["properties"] == {"plan": "free"}
    assert server.stats()["requests_by_endpoint"]["/groups"] == {"200": 1}


@pytest.mark.parametrize(("policy", "failed"), [("fail", 1), ("retry", 0)])
def test_on_ambiguous(
    send: Send, server: Emulator, tmp_path: pathlib.Path, policy: str, failed: int
) -> None:
    server.faults([{"kind": "status", "status": 504, "stored": True}])
    run = send(
        source(tmp_path, n=[1]), "--endpoint-kind=engage", f"--on-ambiguous={policy}",
        "--project-token=env:TOKEN_alpha", "--api-secret=", mapping="distinct_id: user\nadd: [n]\n",
    )  # fmt: skip
    assert run.code == failed, run.err  # 1 where nothing was accepted
    assert [line["reason"] for line in run.failed] == ["ambiguous"] * failed
    assert server.profile("u0")["properties"] == {"n": 2 - failed}


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("engage", {}, "it would send every update once more"),
        ("engage", {"checkpoint": "c"}, "batches that were accepted are not sent again"),
        ("track", {}, "what was accepted is not doubled"),
    ],
)
def test_after_a_failure_it_says_what_another_run_does(
    kind: str, more: dict[str, str], said: str
) -> None:
    now = Standing({"events_accepted": 2000, "requests": 1}, in_flight=2)
    settings = Settings.of({"endpoint_kind": kind, **more}, "import")
    text = outcome.so_far(settings, now)
    assert text.startswith(
        "Mixpanel has accepted 2,000 so far, in 1 request. 2 requests had not been answered yet. "
    )
    assert said in text
    assert outcome.so_far(settings, Standing({})).startswith("Nothing was accepted so far. ")


class TestSeveralProjects:
    MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\nproperties: [user]\n"

    def send(
        self, send: Send, server: Emulator, path: pathlib.Path, *more: str, **columns: Any
    ) -> Any:
        columns.setdefault("shop", ["alpha", "beta", "alpha", "gamma", None])
        table = source(path, **columns)
        file = projects_file(path, server.url)
        return send(table, file, "--destination=shop", *ONE, *more, mapping=self.MAPPING)

    def test_each_row_to_its_project(
        self, send: Send, server: Emulator, tmp_path: pathlib.Path
    ) -> None:
        run = self.send(send, server, tmp_path)
        assert run.code == 0, run.err
        counts = {n: len(server.event_details(project=i)) for n, i in NAMES.items()}
        assert counts == {"alpha": 2, "beta": 1}
        assert [line["reason"] for line in run.failed] == ["destination_unknown"] * 2
        assert sorted(line["row"] for line in run.failed) == [3, 4]
        projects = run.out.partition("\nProjects\n")[2]
        assert "alpha                    2 read = 2 accepted + 0 failed, 1 request" in projects
        assert "beta                     1 read = 1 accepted + 0 failed, 1 request" in projects
        assert "(of no known project)    2 read = 0 accepted + 2 failed, 0 requests" in projects
        # The column was read for the way alone.
        assert "shop" not in json.dumps(server.events())

    def test_a_refused_project_is_no_success(
        self, send: Send, server: Emulator, tmp_path: pathlib.Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("SECRET_beta", "another-secret-0123456789")
        run = self.send(send, server, tmp_path, shop=["alpha", "beta", "alpha"])
        assert run.code == 1
        assert "Error: beta took nothing more" in run.err
        assert "another-secret" not in run.out + run.err
        assert "0 accepted + 1 failed, 1 request  REFUSED" in run.out
        assert [line["reason"] for line in run.failed] == ["project_refused"]
        assert len(server.event_details(project=1)) == 2

    def test_replay_after_the_fix(
        self, send: Send, server: Emulator, tmp_path: pathlib.Path, monkeypatch: Any
    ) -> None:
        good = "secret-beta-012345"
        monkeypatch.setenv("SECRET_beta", "another-secret-0123456789")
        assert self.send(send, server, tmp_path, shop=["alpha", "beta", "alpha"]).code == 1
        monkeypatch.setenv("SECRET_beta", good)
        arguments = [f"--input={tmp_path}/failed*.jsonl", "--destination=shop"]
        arguments += [projects_file(tmp_path, server.url), f"--failed-output={tmp_path}/again"]
        assert replay(arguments) == 0
        assert {n: len(server.event_details(project=i)) for n, i in NAMES.items()} == {
            "alpha": 2, "beta": 1
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--destination="], "--projects and --destination"),
            (["--projects="], "--projects and --destination"),
            (["--api-secret=env:SECRET_alpha"], "--api-secret is of one project"),
            (["--quota=60/hour"], "--quota is of one project"),
            (["--projects=none.yaml"], "The projects file none.yaml cannot be read"),
            (["--destination=shopp"], "destination names the column 'shopp'"),
            (["--dry-run"], "A dry run looks at one project"),
            (["--endpoint-kind=engage", "--dry-run"], "A dry run shows events only"),
            (["--endpoint-kind=engage"], "'event' is unknown"),
        ],
    )
    def test_wrong_settings(
        self, send: Send, server: Emulator, tmp_path: pathlib.Path, more: dict[str, str], said: str
    ) -> None:
        run = self.send(send, server, tmp_path, *more)
        assert run.code == 2
        assert said in run.err
        assert server.stats()["requests"] == 0

    def test_a_secret_that_is_not_there(
        self, send: Send, server: Emulator, tmp_path: pathlib.Path, monkeypatch: Any
    ) -> None:
        monkeypatch.delenv("SECRET_beta")
        run = self.send(send, server, tmp_path)
        assert run.code == 2
        assert "SECRET_beta is not set" in run.err


def test_the_default_quota_is_the_endpoints() -> None:
    def quota(**given: str) -> str:
        return str(quota_of(Settings.of(given, "import")))

    assert quota() == "60/hour"
    assert quota(endpoint_kind="engage") == str(Quota.reference())
    assert quota(endpoint_kind="track", quota="5/minute") == "5/minute"
    assert quota(projects="p.yaml", destination="d") == "none"


def test_track_can_be_run_dry(send: Send, server: Emulator, tmp_path: pathlib.Path) -> None:
    table = source(tmp_path, at=[NOW_MS, NOW_MS - 6 * 86_400_000])
    run = send(table, "--endpoint-kind=track", "--dry-run", "--api-secret=")
    assert run.code == 0, run.err
    assert "too_old_for_track" in run.out
    assert server.stats()["requests"] == 0


def test_updates_are_not_replayed(tmp_path: pathlib.Path, capsys: Any) -> None:
    assert replay([f"--input={tmp_path}/x.jsonl", "--endpoint-kind=engage"]) == 2
    assert "updates of profiles are not" in capsys.readouterr().err
