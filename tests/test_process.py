"""What a process remembers, and forgets."""

from __future__ import annotations

import threading

from mixpanel_sink import process
from mixpanel_sink.process import Registry, forget
from mixpanel_sink.report import worker_log
from mixpanel_sink.send.tally import tally


def test_a_registry_keeps_what_it_made() -> None:
    kept: Registry[list[int]] = Registry()
    one = kept.get("a", list)
    assert kept.get("a", list) is one
    assert kept.get("b", list) is not one
    kept.clear()
    assert kept.get("a", list) is not one


def test_threads_get_the_same_object() -> None:
    kept: Registry[object] = Registry()
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(kept.get("a", object))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_forget_drops_everything() -> None:
    tally().add({"requests": 3})
    log = worker_log.progress()
    for registry in (process.LANES, process.LOGS):
        registry.get("x", lambda: None)  # type: ignore[arg-type,return-value]
    forget()
    assert tally().counts() == {}
    assert worker_log.progress() is not log
    registries = [each for each in vars(process).values() if isinstance(each, Registry)]
    assert len(registries) == len(process._ALL)
    kept = {name for registry in (process.LANES, process.LOGS) for name in registry._kept}
    assert not kept
