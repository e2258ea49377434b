"""`mixpanel-sink import --only-changed`: profiles, by the real command against the emulator."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import pytest

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from tests.cli.conftest import Call

MAPPING = "distinct_id: user\nset: [plan, city]\nunion: [tags]\ntime: {column: at, unit: s}\n"


class Place:
    """A folder with a mapping, a day's users, and a checkpoint."""

    def __init__(self, call: Call, mixpanel: Emulator) -> None:
        self._call, self._mixpanel = call, mixpanel
        self._days = itertools.count(1714980000, 86_400)
        pathlib.Path("users.yaml").write_text(MAPPING)

    def users(self, text: str = "", **plans: str) -> None:
        """The day's file: all users with their plans. The time is another one every day."""
        at = next(self._days)
        lines = [f"{user},{plan},Oslo,new,{at}" for user, plan in plans.items()]
        pathlib.Path("users.csv").write_text("\n".join(["user,plan,city,tags,at", *lines, text]))

    def run(self, *more: str) -> Any:
        """The command, as a new process would run it."""
        forget()
        return self._call(
            *("import", "users.csv", "--mapping=users.yaml", f"--endpoint={self._mixpanel.url}"),
            *("--endpoint-kind=engage", "--only-changed"),
            *("--checkpoint=kept", "--types=at=integer", "--first-wait=0.01", *more),
        )

    def sent(self) -> dict[str, Any]:
        """What Mixpanel has taken since the last time, by user."""
        found = self._mixpanel.updates()
        self._mixpanel.reset(quota="none")
        by_user = {each["$distinct_id"]: each for each in found}
        assert len(by_user) == len(found), "each once"
        return by_user


@pytest.fixture
def place(
    call: Call, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", "which /engage does not take")
    monkeypatch.setenv("MIXPANEL_PROJECT_TOKEN", mixpanel.project_token)
    return Place(call, mixpanel)


def test_only_what_changed_is_sent_and_what_left_is_removed(place: Place) -> None:
    place.users(a="free", b="pro", c="pro")
    done = place.run()
    assert done.code == 0, done.err
    assert {*place.sent()} == {"a", "b", "c"}
    place.users(c="pro", a="free", b="free", d="new")
    done = place.run()
    assert done.code == 0, done.err
    assert "2 read = 2 accepted + 0 failed" in done.out
    assert "profiles unchanged                 2" in done.out
    assert {user: each["$set"]["plan"] for user, each in place.sent().items()} == {
        "b": "free",
        "d": "new",
    }
    place.users(a="free", d="new")
    done = place.run()
    assert done.code == 0, done.err
    assert "2 known profiles are no longer in the input: " in done.out
    assert "Mixpanel keeps them; --missing unset or delete changes that." in done.out
    assert not place.sent()
    done = place.run("--missing=unset")
    assert done.code == 0, done.err
    sent = place.sent()
    assert {*sent} == {"b", "c"}
    assert {*sent["b"]["$unset"]} == {"plan", "city", "tags"}
    place.users(d="new", c="pro")
    done = place.run("--missing=delete")
    assert done.code == 0, done.err
    assert "1 known profile is no longer in the input: 'a'." in done.out
    sent = place.sent()
    assert {user: "$delete" in each for user, each in sent.items()} == {"a": True, "c": False}
    done = place.run("--missing=delete")
    assert done.code == 0, done.err
    assert "no longer" not in done.out
    assert not place.sent()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "The checkpoint"),
        ("broken", "1 record failed, which may have been theirs"),
        ("", "the input was empty"),
    ],
    ids=["damaged", "bad-row", "empty"],
)
def test_nothing_is_deleted_by_mistake(place: Place, text: str, says: str) -> None:
    place.users(a="free", b="pro")
    assert place.run().code == 0
    place.sent()
    if text == "x":
        place.run()  # which puts the log away
        place.sent()
        shard = next(pathlib.Path("kept").glob("profiles-*.shard"))
        shard.write_bytes(shard.read_bytes()[:50])
        place.users(a="free")
    elif text:
        place.users(f"{text},pro,Oslo,new,no-time", a="free")
    else:
        place.users()
    done = place.run("--missing=delete")
    assert says in done.out + done.err
    assert not place.sent()


def test_refusals_and_outages_lose_nothing(place: Place, mixpanel: Emulator) -> None:
    place.users(a="free", b="pro")
    assert place.run().code == 0
    place.sent()
    place.users(a="pro", b="pro", c="new")
    mixpanel.faults([{"kind": "status", "status": 500, "times": 400, "path": "/engage"}])
    done = place.run("--transient-seconds=0.05", "--breaker=99")
    assert "0 accepted + 2 failed" in done.out
    assert not place.sent()
    mixpanel.faults([{"kind": "rate_limit", "retry_after": "1", "path": "/engage"}])
    done = place.run()
    assert done.code == 0, done.err
    assert {*place.sent()} == {"a", "c"}


def test_another_mapping_and_another_project(
    place: Place, call: Call, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.users(a="free", b="pro")
    assert place.run().code == 0
    place.sent()
    mapping = pathlib.Path("users.yaml")
    mapping.write_text(MAPPING.replace("[plan, city]", "[plan]"))
    assert place.run().code == 0
    assert "not those of the last run" in caplog.text
    assert {*place.sent()} == {"a", "b"}
    monkeypatch.setenv("MIXPANEL_PROJECT_TOKEN", "another-token-0123456")
    done = place.run()
    assert done.code == 2
    assert "belong to another project or region" in done.err
    done = call("status", "kept")
    assert done.code == 2
    assert "remembers what was last sent for each profile" in done.err


def test_wrong_settings(place: Place, call: Call, mixpanel: Emulator) -> None:
    place.users(a="free")
    mapping = pathlib.Path("users.yaml")
    events = ["import", "users.csv", "--mapping=users.yaml", "--only-changed", "--checkpoint=kept"]
    where = [f"--endpoint={mixpanel.url}", "--project-token=env:TEST_TOKEN"]
    profiles = ["import", "users.csv", "--mapping=users.yaml", "--endpoint-kind=engage", *where]
    for words, text, says in (
        ([*profiles, "--only-changed"], MAPPING, "only_changed needs a checkpoint"),
        ([*profiles, "--missing=delete"], MAPPING, "needs --only-changed"),
        (
            [*profiles, "--only-changed", "--checkpoint=kept", "--missing=delete", "--where=1 = 1"],
            MAPPING,
            "--missing delete and --where contradict each other",
        ),
        (
            [
                *profiles,
                "--only-changed",
                "--checkpoint=gs://none/kept",
                "--missing=unset",
                "--runner=DataflowRunner",
                "--project=p",
                "--temp_location=gs://none/temp",
            ],
            MAPPING,
            "--missing unset finds the profiles that are gone when the run has ended, and a job on "
            "another service is not waited for. Run it on this machine, or leave --missing out.",
        ),
        ([*events, *where, "--dry-run", "--limit=1"], MAPPING, "--limit is for trying"),
        ([*events, *where, "--limit=1"], MAPPING, "--limit is for trying"),
        (
            [*profiles, "--only-changed", "--checkpoint=kept"],
            "distinct_id: user\nadd: [at]\n",
            "the mapping's add changes a profile every time it is sent",
        ),
        (
            [*events, *where],
            "event: {constant: A}\ntime: at\ndistinct_id: user\n",
            "only_changed is for profiles",
        ),
    ):
        mapping.write_text(text)
        done = call(*words)
        assert done.code == 2, words
        assert says in done.err, done.err
    assert mixpanel.stats()["requests"] == 0


def test_one_run_at_a_time(place: Place) -> None:
    place.users(a="free", b="pro")
    folder = open_folder("kept")
    lease.acquire(folder, "another")
    done = place.run()
    assert done.code == 2
    assert "/kept is in use: " in done.err
    assert not place.sent()
    lease.release(folder, "another")
    done = place.run("--missing=nobody")
    assert done.code == 2
    done = place.run("--on-changed=skip")
    assert "--on-changed is for checkpoints that know files" in done.err
    done = place.run()
    assert done.code == 0, done.err
    assert {*place.sent()} == {"a", "b"}
    assert folder.read(lease.NAME) is None  # given back by each of them
