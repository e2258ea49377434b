"""`rate_limiter=`: several jobs on one project, with Beam's own limiter and a service that speaks
Envoy's protocol."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from typing import Any

import pytest
from apache_beam.io.components.rate_limiter import EnvoyRateLimiter

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import MixpanelSinkError, SettingError
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken
from mixpanel_sink.settings.project import Project
from mixpanel_sink.write_profiles import WriteProfilesToMixpanel
from tests.running import FAST, run
from tests.write.rate_limit_service import RateLimitService
from tests.write.test_write import record, write

TEN = Limits(batch_events=10)
DESCRIPTOR = ("mixpanel", (("project", "shop"),))


def limiter(address: str) -> EnvoyRateLimiter:
    # Beam 2.77 raises without a namespace, which its signature calls optional.
    return EnvoyRateLimiter(address, "mixpanel", [{"project": "shop"}], namespace="limiter")


JOB = """
import sys
from mixpanel_sink import ApiSecret, WriteToMixpanel
from tests.running import run
from tests.write.test_rate_limiter import TEN, limiter
from tests.write.test_write import MAPPING, record

url, address, first = sys.argv[1:]
sink = WriteToMixpanel(MAPPING, ApiSecret("env:TEST_API_SECRET"), endpoint=url, quota="none",
                       limits=TEN, rate_limiter=limiter(address))
ran = run([record(n) for n in range(int(first), int(first) + 60)], sink)
print(ran.totals[0][0].accepted)
"""


def test_two_jobs_share_a_projects_quota(mixpanel: Emulator) -> None:
    mixpanel.settings(quota="4/1s")
    with RateLimitService(4, 1.5) as service:
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", JOB, mixpanel.url, service.address, first],
                stdout=subprocess.PIPE,
                text=True,
            )
            for first in ("0", "1000")
        ]
        said = [job.communicate(timeout=200)[0] for job in jobs]
    assert [one.split()[-1] for one in said] == ["60", "60"]
    stats = mixpanel.stats()
    assert stats["events_distinct"] == 120
    assert stats["requests_by_endpoint"]["/import"] == {"200": 12}  # none was answered with 429
    assert stats["max_requests_in_window"] <= 4
    assert service.hits == {DESCRIPTOR: 12}
    assert service.refused > 0


def test_each_request_is_asked_for_retries_too(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "status", "status": 503, "times": 2}])
    with RateLimitService(100, 1) as service:
        sink = write(mixpanel, limits=TEN, retry=FAST, rate_limiter=limiter(service.address))
        run([record(n) for n in range(30)], sink)
    assert mixpanel.stats()["requests"] == 5
    assert service.hits == {DESCRIPTOR: 5}


def test_the_quota_holds_besides(mixpanel: Emulator) -> None:
    mixpanel.settings(quota="2/second")
    with RateLimitService(100, 1) as service:
        sink = write(mixpanel, limits=TEN, quota="2/second", rate_limiter=limiter(service.address))
        run([record(n) for n in range(40)], sink)
    assert mixpanel.stats()["requests_by_endpoint"]["/import"] == {"200": 4}


class Stubborn:
    """A limiter that does not wait itself: it says no some times."""

    asked = 0

    def __init__(self, no: int = 0, error: Exception | None = None) -> None:
        self.no = no
        self.error = error

    def allow(self) -> bool:
        if self.error is not None:
            raise self.error
        type(self).asked += 1
        return type(self).asked > self.no


def test_a_limiter_that_says_no_is_asked_again(mixpanel: Emulator) -> None:
    Stubborn.asked = 0
    ran = run([record(1)], write(mixpanel, retry=FAST, rate_limiter=Stubborn(no=3)))
    assert Stubborn.asked == 4
    assert mixpanel.stats()["requests"] == 1
    assert ran.totals[0][0].accepted == 1


def test_without_the_limiter_nothing_is_sent(mixpanel: Emulator) -> None:
    sink = write(mixpanel, rate_limiter=Stubborn(error=OSError("no service\nat all")))
    with pytest.raises(MixpanelSinkError, match=r"rate limiter failed \(OSError: no service at"):
        run([record(1)], sink)
    assert mixpanel.stats()["requests"] == 0


def test_profiles_have_it_too(mixpanel: Emulator) -> None:
    with RateLimitService(100, 1) as service:
        sink = WriteProfilesToMixpanel(
            None, ProjectToken("env:TEST_TOKEN"), endpoint=mixpanel.url, lanes=1,
            rate_limiter=limiter(service.address),
        )  # fmt: skip
        run([{"$distinct_id": "u", "$set": {"n": 1}}], sink)
    assert sum(service.hits.values()) == 1


@pytest.mark.parametrize(("given", "says"), [("60/hour", "rate_limiter is a str"), (7, "an int")])
def test_what_is_not_a_limiter(mixpanel: Emulator, given: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        write(mixpanel, rate_limiter=given)


def test_it_is_of_one_project(mixpanel: Emulator) -> None:
    one = Project(ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url)
    with pytest.raises(SettingError, match="one project"):
        write(
            mixpanel, credentials=None, endpoint=None, projects={"a": one, "b": one},
            destination="shop", rate_limiter=limiter("127.0.0.1:9"),
        )  # fmt: skip


def test_it_travels_to_workers(mixpanel: Emulator) -> None:
    sink = write(mixpanel, rate_limiter=limiter("127.0.0.1:9"))
    again = pickle.loads(pickle.dumps(sink._job.rate_limiter))
    assert again.service_address == "127.0.0.1:9"


def test_the_service_is_a_rolling_window() -> None:
    with RateLimitService(2, 0.5) as service:
        one = limiter(service.address)
        began = time.monotonic()
        assert all(one.allow() for _ in range(5))
        assert time.monotonic() - began >= 1.0
        assert service.refused >= 2
