"""Sends the chunks of one lane in their order, while the bundle's thread goes on.

A lane may have to wait an hour for its quota. Its dispatcher then waits on a separate thread, so
that lanes of other projects are not held up. No Beam here.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.send.gate import weight
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.sender import BatchSender
from mixpanel_sink.send.settle import Outcome

IDLE_SECONDS = 1.0
"""How long the thread that waits for the lane stays when nothing is left to wait with."""


class Dispatcher:
    """One lane's queue, and its pool of sending threads.

    Args:
        max_in_flight: requests at the same time, at most.
        waiting_bytes: how much may wait besides the next chunk; then `put` waits too.
        name: of its threads.
    """

    def __init__(self, max_in_flight: int, waiting_bytes: int = 0, name: str = "lane") -> None:
        self._pool = ThreadPoolExecutor(max_in_flight, thread_name_prefix=f"mixpanel-{name}")
        self._free = threading.Semaphore(max_in_flight)
        self._room = waiting_bytes
        self._name = name
        self._changed = threading.Condition()
        self._queue: collections.deque[_Job] = collections.deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def put(
        self,
        chunk: EventChunk,
        lane: Lane,
        sender: BatchSender,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> Future[Outcome]:
        """Takes the next chunk; blocks while too much waits already."""
        job = _Job(chunk, lane, sender)
        size = len(chunk.payload)
        if self._goes_at_once(job):
            return job.future
        while True:
            with self._changed:
                if not self._queue or self._bytes + size <= self._room:
                    self._queue.append(job)
                    self._changed.notify_all()
                    self._bytes += size
                    lane.expect(weight(chunk))
                    if self._thread is None:
                        self._thread = threading.Thread(
                            target=self._run, name=f"mixpanel-{self._name}", daemon=True
                        )
                        self._thread.start()
                    return job.future
                self._changed.wait(5.0)
            while_waiting()
            try:
                sender.gate.check()
            except Exception as error:
                job.refuse(error)
                return job.future

    def close(self) -> None:
        """Ends the pool; what still waits is dropped."""
        with self._changed:
            for job in self._queue:
                job.future.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _goes_at_once(self, job: _Job) -> bool:
        """Sends the chunk if it need not wait: then no further thread has to wake up."""
        if self._queue or not job.lane.proven or not self._free.acquire(blocking=False):
            return False
        try:
            if not job.sender.gate.start_now(job.chunk):
                self._free.release()
                return False
        except BaseException as error:
            self._free.release()
            job.refuse(error)
            return True
        job.future.set_running_or_notify_cancel()
        self._send(job)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._changed.wait(IDLE_SECONDS)  # cheaper than a new thread each time
                if not self._queue:
                    self._thread = None  # `put` starts another
                    return
                job = self._queue[0]
            try:
                self._start(job)
            finally:
                with self._changed:
                    self._queue.popleft()
                    self._bytes -= len(job.chunk.payload)
                    self._changed.notify_all()

    def _start(self, job: _Job) -> None:
        """Waits for a thread, then for the lane, then lets the chunk go."""
        sender, chunk = job.sender, job.chunk
        try:
            if not job.future.set_running_or_notify_cancel():
                return
            while not self._free.acquire(timeout=5.0):
                sender.gate.check()
            # A thread is free now: a request that the lane has let start never waits for one.
            try:
                sender.gate.start(chunk)
            except BaseException:
                self._free.release()
                raise
        except BaseException as error:
            job.refuse(error)
            return
        finally:
            job.lane.expect(weight(chunk), -1)
        task = self._send(job)
        if task is not None and not job.lane.proven:
            # Nothing else is sent before the endpoint took a first request.
            wait([task])

    def _send(self, job: _Job) -> Future[Outcome] | None:
        """Sends a chunk that the lane has let start, on a thread of the pool."""
        try:
            task = self._pool.submit(job.sender.send, job.chunk)
        except BaseException as error:  # the pool was closed
            job.sender.gate.cancel(job.chunk)
            self._free.release()
            job.refuse(error)
            return None
        task.add_done_callback(lambda task: self._ended(job, task))
        return task

    def _ended(self, job: _Job, task: Future[Outcome]) -> None:
        self._free.release()
        if task.cancelled():
            job.sender.gate.cancel(job.chunk)
            job.future.set_exception(RuntimeError("The pipeline's worker is closing."))
        elif (error := task.exception()) is not None:
            job.refuse(error)
        else:
            job.future.set_result(task.result())


class _Job:
    """A chunk on its way, and what becomes of it."""

    def __init__(self, chunk: EventChunk, lane: Lane, sender: BatchSender) -> None:
        self.chunk = chunk
        self.lane = lane
        self.sender = sender
        self.future: Future[Outcome] = Future()

    def refuse(self, error: BaseException) -> None:
        """Fails the chunk's records where only their project has failed, else the bundle."""
        if self.sender.fails_alone(error):
            self.future.set_result(self.sender.refuse(self.chunk, error))
        else:
            self.future.set_exception(error)
