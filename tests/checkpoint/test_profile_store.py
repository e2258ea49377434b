"""The files that hold what was last sent for each profile: whole, damaged, half-written, shared."""

from __future__ import annotations

import io
import multiprocessing
import os
import pathlib
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.checkpoint import profile_store
from mixpanel_sink.checkpoint.clouds import _Other
from mixpanel_sink.checkpoint.folder import _Local
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.profile_entries import (
    GONE,
    UNKNOWN,
    Entries,
    from_parquet,
    ids_from_bytes,
    ids_to_bytes,
    to_parquet,
)
from mixpanel_sink.checkpoint.profile_store import ProfileStore
from mixpanel_sink.errors import CheckpointError

OWNER = Owner("", "mapping", "engage", "projects")


def entries(of: dict[int, int]) -> Entries:
    """By number of the profile, whose key is spread over all shards."""
    keys = [n * 0x9E3779B97F4A7C15 % 2**64 for n in of]
    values = np.array(list(of.values()), np.uint64)
    return Entries.of(np.array(keys, np.uint64), values, [f"user-{n}" for n in of])


def held(store: ProfileStore, run: str = "") -> dict[int, int]:
    """What it knows, by number."""
    base = store.base(run)
    assert (np.diff(base.keys) > 0).all(), "sorted, each once"
    numbers = {key: n for n in range(60) for key in entries({n: 0}).keys.tolist()}
    found = zip(base.keys.tolist(), base.contents.tolist(), strict=True)
    return {numbers[key]: content for key, content in found}


@pytest.fixture(params=["local", "cloud"])
def path(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Of a folder; the cloud's, by Beam's file systems, cannot append."""
    kind = _Local if request.param == "local" else _Other
    monkeypatch.setattr(profile_store, "open_folder", lambda path: kind(path))
    return str(tmp_path / "kept")


def opened(path: str, owner: Owner = OWNER) -> ProfileStore:
    """As the launcher of a run opens it."""
    store = ProfileStore(path, owner)
    store.settle()
    return store


def test_what_was_sent_is_known_to_the_next_run(path: str) -> None:
    store = opened(path)
    assert held(store) == {}
    store.append("run1", entries({n: 100 + n for n in range(20)}))
    store.append("run1", entries({7: UNKNOWN, 8: 888}))
    store.append("run1", entries({8: 889}))
    assert held(store, "run1") == {}, "a run does not know what it sends itself"
    expected = {n: 100 + n for n in range(20)} | {7: UNKNOWN, 8: 889}
    assert held(store, "run2") == expected
    store.close()
    store = opened(path)
    assert not [name for name in os.listdir(path) if name.startswith("profile-log")]
    assert held(store) == expected
    store.append("run3", entries({5: GONE, 9: 999, 40: 4}))
    after = {n: c for n, c in expected.items() if n != 5} | {9: 999, 40: 4}
    assert held(store) == after
    assert store.base("").mark != store.base("run3").mark
    store.close()
    store = opened(path)
    assert held(store) == after
    assert sorted(store.ids(entries({9: 0, 40: 0, 5: 0, 50: 0}).keys)) == ["user-40", "user-9"]


def test_a_worker_that_comes_late_leaves_the_logs_of_its_run(path: str) -> None:
    first = ProfileStore(path, OWNER)
    first.append("run1", entries({1: 11, 2: 12}))
    first.append("run2", entries({2: 22, 3: 23}))
    first.close()
    late = ProfileStore(path, OWNER)
    late.settle("run2")
    assert held(late, "run2") == {1: 11, 2: 12}
    assert held(late, "run3") == {1: 11, 2: 22, 3: 23}


def test_logs_that_differ_leave_a_profile_unknown(path: str) -> None:
    """Nobody knows which was later: clocks step back, and workers change places."""
    one, other = ProfileStore(path, OWNER), ProfileStore(path, OWNER)
    one.append("run1", entries({1: 11, 2: 22, 3: 33}))
    other.append("run2", entries({2: 23, 3: 33, 4: UNKNOWN}))
    expected = {1: 11, 2: UNKNOWN, 3: 33, 4: UNKNOWN}
    assert held(one) == expected
    one.close()
    other.close()
    assert held(opened(path)) == expected


def test_a_kill_between_two_logs_that_differ(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is believed when the other one is gone."""
    one, other = ProfileStore(path, OWNER), ProfileStore(path, OWNER)
    one.append("run1", entries({1: 11, 2: 22}))
    other.append("run2", entries({2: 23, 3: 33}))
    one.close()
    other.close()
    kind = _Local if one.grows else _Other
    remove = kind.remove
    for removed in range(3):
        left = [removed]

        def killed(self: Any, name: str, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError("killed")
            left[0] -= 1
            remove(self, name)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "remove", killed)
            with pytest.raises(CheckpointError, match="killed"):
                opened(path)
        assert held(ProfileStore(path, OWNER)) == {1: 11, 2: UNKNOWN, 3: 33}
    assert held(opened(path)) == {1: 11, 2: UNKNOWN, 3: 33}
    assert [name for name in os.listdir(path) if name.startswith("profile-log-")] == []


def test_a_kill_between_two_shards(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(path)
    store.append("run1", entries({n: 5 for n in range(20)}))
    store.close()
    opened(path).close()
    store = opened(path)
    store.append("run2", entries({n: 6 for n in range(15, 30)} | {0: GONE}))
    store.close()
    left = [10]
    write = (_Local if store.grows else _Other).write

    def killed(self: Any, name: str, data: bytes) -> None:
        left[0] -= 1
        if not left[0]:
            raise OSError("killed")
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(_Local if store.grows else _Other, "write", killed)
        with pytest.raises(CheckpointError, match="killed"):
            opened(path)
    expected = {n: 5 for n in range(1, 15)} | {n: 6 for n in range(15, 30)}
    assert held(opened(path)) == expected


def test_logs_go_into_the_shards_with_little_room(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of the logs is removed before the next one is put away."""
    store = opened(str(tmp_path))
    for start in range(0, 20_000, 2000):
        store.append("run1", entries({n: 5 for n in range(start, start + 2000)}))
    store.close()
    logs = size_of(tmp_path)
    sizes = []
    write = _Local.write

    def measured(self: Any, name: str, data: bytes) -> None:
        write(self, name, data)
        sizes.append(size_of(tmp_path))

    monkeypatch.setattr(_Local, "write", measured)
    opened(str(tmp_path)).close()
    shards = size_of(tmp_path)
    assert len(sizes) >= 64
    assert max(sizes) < logs + shards / 4


def size_of(folder: pathlib.Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


def test_a_kill_in_the_middle_of_a_frame(tmp_path: pathlib.Path) -> None:
    store = opened(str(tmp_path))
    store.append("run1", entries({1: 11}))
    (log,) = tmp_path.glob("profile-log-*")
    whole = log.read_bytes()
    store.append("run1", entries({1: 12}))
    second = log.read_bytes()
    for size in range(len(whole), len(second)):
        log.write_bytes(second[:size])
        assert held(store) == {1: 11}
    log.write_bytes(second[:20] + bytes([second[20] ^ 1]) + second[21:])
    with pytest.raises(CheckpointError, match=r"damaged .*a checksum is wrong.*sent once"):
        store.base("")


def test_damage_is_found(tmp_path: pathlib.Path) -> None:
    store = opened(str(tmp_path))
    store.append("run1", entries({n: 5 for n in range(300)}))
    store.close()
    opened(str(tmp_path)).close()
    shard = tmp_path / "profiles-07.shard"
    whole = shard.read_bytes()
    for at in (len(whole) // 4, len(whole) // 2, len(whole) - 20):
        shard.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        store = opened(str(tmp_path))
        with pytest.raises(CheckpointError, match=r"damaged \(profiles-07.shard"):
            list(store.ids(store.base("").keys))
        store.close()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        opened(str(tmp_path)).base("")
    shard.write_bytes(whole)
    header = tmp_path / "profiles.json"
    for content, says in (
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (header.read_bytes().replace(b'"version":3', b'"version":2'), "another version"),
    ):
        header.write_bytes(content)
        with pytest.raises(CheckpointError, match=says):
            opened(str(tmp_path))
    header.unlink()
    with pytest.raises(CheckpointError, match="it is missing"):
        opened(str(tmp_path))


def test_whose_it_is(path: str) -> None:
    assert not opened(path).mapping_changed
    assert not opened(path).mapping_changed
    assert not ProfileStore(path, Owner("", "m2", "engage", "projects"), True).mapping_changed
    assert not opened(path).mapping_changed, "the header kept the mapping"
    assert opened(path, Owner("", "m2", "engage", "projects")).mapping_changed
    for other, says in (
        (Owner("", "mapping", "groups", "projects"), "another endpoint"),
        (Owner("", "mapping", "engage", "others"), "another project or region"),
    ):
        with pytest.raises(CheckpointError, match=says):
            opened(path, other)


def _read_until_told(path: str, ready: Any, told: Any) -> None:
    store = ProfileStore(path, OWNER)
    ready.set()
    told.wait(60)
    store.close()


def test_logs_stay_while_another_process_reads_them(tmp_path: pathlib.Path) -> None:
    store = opened(str(tmp_path))
    store.append("run1", entries({1: 11}))
    store.close()
    context = multiprocessing.get_context("fork")
    ready, told = context.Event(), context.Event()
    process = context.Process(target=_read_until_told, args=(str(tmp_path), ready, told))
    process.start()
    try:
        assert ready.wait(60)
        store = opened(str(tmp_path))
        assert list(tmp_path.glob("profile-log-*"))
        assert held(store) == {1: 11}
        store.close()
    finally:
        told.set()
        process.join(60)
    store = opened(str(tmp_path))
    assert not list(tmp_path.glob("profile-log-*"))
    assert held(store) == {1: 11}


def test_a_folder_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be used"):
        ProfileStore(str(tmp_path / "file"), OWNER)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([], id="none"),
        pytest.param([""], id="empty"),
        pytest.param(["user-1", "user-2"], id="one-length"),
        pytest.param(["a", "", "user-3"], id="lengths"),
        pytest.param(["\u00e9x", "abc", "\U0001f600"[:1]], id="bytes-and-characters"),
        pytest.param(["\u00e9\u00e9", "abcd", "\U0001f600"], id="one-length-in-bytes"),
        pytest.param(["a\0b", "c\0d"], id="pairs"),
    ],
)
def test_ids_come_back_as_they_were(ids: list[str]) -> None:
    count = len(ids)
    made = Entries.of(np.arange(count, dtype=np.uint64), np.arange(count, dtype=np.uint64), ids)
    for given in (made, made.take(np.arange(count))):
        assert ids_from_bytes(ids_to_bytes(given.ids), count).to_pylist() == ids
        back = from_parquet(pq.ParquetFile(io.BytesIO(to_parquet(given))))
        assert (back.ids.to_pylist(), back.ids.type) == (ids, pa.large_string())
        assert back.keys.tolist() == list(range(count))


def test_ten_thousand_uuids_need_little_more_than_their_digits(tmp_path: pathlib.Path) -> None:
    """16 bytes for each id, and 16 for key and content, of which a sorted key saves some."""
    rng = np.random.default_rng(7)
    count = 10_000
    hashes = rng.integers(2, 2**64, (2, count), np.uint64)
    store = opened(str(tmp_path))
    for at in range(0, count, 2000):
        ids = [str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(2000)]
        some = slice(at, at + 2000)
        store.append("run1", Entries.of(hashes[0][some], hashes[1][some], ids))
    logs = sum(each.stat().st_size for each in tmp_path.glob("profile-log-*"))
    store.close()
    opened(str(tmp_path)).close()
    assert count * 32 < logs < count * 33.5
    assert not list(tmp_path.glob("profile-log-*"))
