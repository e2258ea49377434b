from __future__ import annotations

from mixpanel_sink.jobs.options import own_region


def test_regions_of_mixpanel_and_of_google_cloud() -> None:
    arguments = [
        "--region=eu",
        "--region",
        "in",
        "--region=europe-west1",
        "--region",
        "us-east4",
    ]
    assert own_region(arguments) == [
        "--mixpanel_region=eu",
        *("--mixpanel_region", "in"),
        "--region=europe-west1",
        *("--region", "us-east4"),
    ]
