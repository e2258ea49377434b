"""A rate limit service on loopback that speaks Envoy's protocol (RLS v3), with a rolling window."""

from __future__ import annotations

import collections
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.io.components import rate_limit_pb2

METHOD = "envoy.service.ratelimit.v3.RateLimitService"
OK = rate_limit_pb2.RateLimitResponse.OK
OVER = rate_limit_pb2.RateLimitResponse.OVER_LIMIT


class RateLimitService:
    """At most `amount` hits in any `seconds`, for each domain and list of descriptors.

    Attributes:
        address: host and port.
        hits: what was allowed, by domain and descriptors.
        refused: how many requests were told to wait.
    """

    def __init__(self, amount: int, seconds: float) -> None:
        self._amount, self._seconds = amount, seconds
        self._lock = threading.Lock()
        self._recent: dict[Any, collections.deque[float]] = collections.defaultdict(
            collections.deque
        )
        self.hits: collections.Counter[Any] = collections.Counter()
        self.refused = 0
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.unary_unary_rpc_method_handler(
            self._should_rate_limit,
            request_deserializer=rate_limit_pb2.RateLimitRequest.FromString,
            response_serializer=rate_limit_pb2.RateLimitResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(METHOD, {"ShouldRateLimit": handler})]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> RateLimitService:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0)

    def _should_rate_limit(self, request: Any, _: Any) -> Any:
        entries = tuple((e.key, e.value) for d in request.descriptors for e in d.entries)
        key, hits = (request.domain, entries), max(1, request.hits_addend)
        with self._lock:
            now, recent = time.monotonic(), self._recent[key]
            while recent and recent[0] <= now - self._seconds:
                recent.popleft()
            response = rate_limit_pb2.RateLimitResponse(overall_code=OK)
            if len(recent) + hits > self._amount:
                self.refused += 1
                response.overall_code = OVER
                status = response.statuses.add(code=OVER)
                until = recent[0] + self._seconds - now
                status.duration_until_reset.FromMilliseconds(int(until * 1000) + 1)
            else:
                recent.extend([now] * hits)
                self.hits[key] += hits
            return response
