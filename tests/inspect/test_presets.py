"""The presets, on small exports made by hand from each tool's documentation."""

from __future__ import annotations

import datetime
import json
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.inspect.presets import PRESETS, check_preset, mapping_of_preset, preset
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import Column
from mixpanel_sink.settings.credentials import ProjectToken
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from mixpanel_sink.stages.local import convert_tables
from mixpanel_sink.write_profiles import WriteProfilesToMixpanel
from tests.running import IN_PROCESS

AT = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
AT_MS = int(AT.timestamp() * 1000)


def value(**given: Any) -> dict[str, Any]:
    parts = ("string_value", "int_value", "float_value", "double_value")
    return {**dict.fromkeys(parts), **given}


GA4 = {
    "event_date": "20240506",
    "event_timestamp": AT_MS * 1000,
    "event_name": "page_view",
    "event_params": [
        {"key": "page_location", "value": value(string_value="https://shop.example/")},
        {"key": "ga_session_id", "value": value(int_value=1714979289)},
        {"key": "engaged_share", "value": value(double_value=0.5)},
    ],
    "event_previous_timestamp": None,
    "event_bundle_sequence_id": 7,
    "event_server_timestamp_offset": 12,
    "user_id": "u1",
    "user_pseudo_id": "123.456",
    "privacy_info": {"analytics_storage": "Yes", "ads_storage": "No"},
    "user_properties": [
        {"key": "plan", "value": {**value(string_value="pro"), "set_timestamp_micros": 5}}
    ],
    "user_first_touch_timestamp": AT_MS * 1000,
    "user_ltv": {"revenue": 9.5, "currency": "EUR"},
    "device": {"category": "mobile", "operating_system": "iOS", "web_info": {"browser": "Safari"}},
    "geo": {"country": "Germany", "city": "Bonn", "region": "NRW"},
    "traffic_source": {"name": "(direct)", "medium": "(none)", "source": "(direct)"},
    "collected_traffic_source": {"manual_source": "news", "manual_medium": "email"},
    "stream_id": "1",
    "platform": "WEB",
    "batch_event_index": 1,
    "batch_page_id": 2,
    "batch_ordering_id": 3,
    "is_active_user": True,
}
AMPLITUDE = {
    "event_type": "Song Played",
    "event_time": "2024-05-06 07:08:09.000000",
    "user_id": "u1",
    "device_id": "d1",
    "uuid": "4b8a0f0c-0b5f-11ef-9c6a-0242ac120002",
    "ip_address": "198.51.100.7",
    "event_properties": {"song": "Heroes", "seconds": 371},
    "user_properties": {"plan": "pro"},
    "groups": {"company": ["acme"]},
    "city": "Bonn",
    "os_name": "ios",
    "amplitude_id": 99,
    "app": 1,
    "server_upload_time": "2024-05-06 07:08:10.000000",
    "library": "amplitude-ios/8.0",
}
WAREHOUSE = {
    "id": "ajs-1",
    "event": "order_completed",
    "event_text": "Order Completed",
    "anonymous_id": "a1",
    "user_id": "u1",
    "timestamp": AT,
    "original_timestamp": AT,
    "received_at": AT,
    "sent_at": AT,
    "uuid_ts": AT,
    "context_ip": "198.51.100.7",
    "context_request_ip": "198.51.100.7",
    "context_page_url": "https://shop.example/",
    "context_library_name": "analytics.js",
    "revenue": 9.5,
}
POSTHOG = {
    "uuid": "018f4c1e-0000-7000-8000-000000000001",
    "event": "$pageview",
    "distinct_id": "u1",
    "person_id": "018f4c1e-0000-7000-8000-00000000000a",
    "properties": json.dumps(
        {
            "distinct_id": "u1",
            "token": "phc_abc",
            "$current_url": "https://shop.example/",
            "$lib_version": "1.2",
            "plan": "pro",
            "$set": {"a": 1},
        }
    ),
    "person_properties": "{}",
    "elements_chain": "",
    "timestamp": AT,
    "created_at": AT,
    "_inserted_at": AT,
}
MIXPANEL = {
    "event": "Visit",
    "properties": {
        "time": AT_MS,
        "distinct_id": "u1",
        "$insert_id": "i1",
        "$device_id": "d1",
        "plan": "pro",
        "items": [{"sku": "a"}],
        "mp_processing_time_ms": AT_MS,
        "$mp_api_endpoint": "api.mixpanel.com",
    },
}
MIXPANEL_PARQUET = {
    "event": "Visit",
    "time": AT,
    "distinct_id": "u1",
    "insert_id": "i1",
    "properties": json.dumps({"$device_id": "d1", "plan": "pro", "items": [{"sku": "a"}]}),
}
OF_MIXPANEL = {
    "event": "Visit",
    "distinct_id": "u1",
    "$device_id": "d1",
    "$insert_id": "i1",
    "plan": "pro",
    "items": [{"sku": "a"}],
}
SAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "ga4": (
        GA4,
        {
            "event": "page_view",
            "$device_id": "123.456",
            "$user_id": "u1",
            "distinct_id": "u1",
            "$current_url": "https://shop.example/",
            "ga_session_id": 1714979289,
            "engaged_share": 0.5,
            "user_plan": "pro",
            "$city": "Bonn",
            "$os": "iOS",
            "utm_source": "news",
            "ip": "0",
        },
        {"event_params", "privacy_info", "geo", "device_web_info"},
    ),
    "amplitude": (
        AMPLITUDE,
        {
            "event": "Song Played",
            "$device_id": "d1",
            "$user_id": "u1",
            "$insert_id": "4b8a0f0c-0b5f-11ef-9c6a-0242ac120002",
            "song": "Heroes",
            "seconds": 371,
            "user_plan": "pro",
            "group_company": ["acme"],
            "$city": "Bonn",
            "$os": "ios",
            "ip": "198.51.100.7",
        },
        {"amplitude_id", "app", "server_upload_time", "library", "event_properties"},
    ),
    "segment": (
        WAREHOUSE,
        {
            "event": "Order Completed",
            "$device_id": "a1",
            "$user_id": "u1",
            "$insert_id": "ajs-1",
            "revenue": 9.5,
            "$current_url": "https://shop.example/",
            "ip": "198.51.100.7",
        },
        {"received_at", "context_library_name", "event_text"},
    ),
    "rudderstack": (
        WAREHOUSE,
        {
            "event": "Order Completed",
            "$device_id": "a1",
            "$insert_id": "ajs-1",
            "revenue": 9.5,
            "ip": "198.51.100.7",
        },
        {"received_at", "context_library_name", "context_ip"},
    ),
    "mixpanel": (
        MIXPANEL,
        OF_MIXPANEL,
        {"mp_processing_time_ms", "$mp_api_endpoint", "properties"},
    ),
    "mixpanel-parquet": (MIXPANEL_PARQUET, OF_MIXPANEL, {"properties"}),
    "posthog": (
        POSTHOG,
        {
            "event": "$pageview",
            "distinct_id": "u1",
            "$insert_id": "018f4c1e-0000-7000-8000-000000000001",
            "$current_url": "https://shop.example/",
            "plan": "pro",
        },
        {"p.token", "token", "$lib_version", "person_id", "$set", "properties"},
    ),
}


USERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "amplitude-users": (
        {**AMPLITUDE, "user_properties": {"plan": "pro", "email": "a@shop.example", "city": "Ulm"}},
        {"plan": "pro", "$email": "a@shop.example", "city": "Ulm"},
    ),
    "segment-users": (
        {
            "id": "u1",
            "email": "a@shop.example",
            "plan": "pro",
            "received_at": AT,
            "uuid_ts": AT,
            "context_ip": "198.51.100.7",
        },
        {"$email": "a@shop.example", "plan": "pro"},
    ),
    "rudderstack-users": (
        {"id": "u1", "name": "Ada", "plan": "pro", "received_at": AT, "context_traits_plan": "pro"},
        {"$name": "Ada", "plan": "pro"},
    ),
    "posthog-users": (
        {
            "team_id": 1,
            "distinct_id": "u1",
            "person_id": "018f4c1e-0000-7000-8000-00000000000a",
            "properties": json.dumps({"email": "a@shop.example", "plan": "pro", "$lib": "web"}),
            "person_version": 2,
            "created_at": AT,
        },
        {"$email": "a@shop.example", "plan": "pro", "$created": "2024-05-06T07:08:09"},
    ),
    "mixpanel-users": (
        {"$distinct_id": "u1", "$properties": {"$email": "a@shop.example", "tags": ["a", "b"]}},
        {"$email": "a@shop.example", "tags": ["a", "b"]},
    ),
}
RECORDS = {name: sample[0] for name, sample in {**SAMPLES, **USERS}.items()}


def test_there_is_a_sample_for_each() -> None:
    assert set(RECORDS) == set(PRESETS)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_becomes_events(name: str) -> None:
    record, wanted, unwanted = SAMPLES[name]
    mapping = EventMapping.from_yaml(preset(name))
    (chunk,) = convert_tables([pa.Table.from_pylist([record])], mapping)
    assert not isinstance(chunk, FailedRecord), chunk.message
    (event,) = map(json.loads, chunk.events())
    found = {**event["properties"], "event": event["event"]}
    assert found["time"] == AT_MS
    assert {key: found.get(key) for key in wanted} == wanted
    assert not unwanted & found.keys()


def test_an_export_of_users_becomes_profiles(mixpanel: Emulator) -> None:
    """All of them in one pipeline, each with a user of its own."""
    with beam.Pipeline(IN_PROCESS) as pipeline:
        for name, (record, _) in USERS.items():
            mapping = mapping_of_preset(name)
            assert isinstance(mapping, ProfileMapping)
            column = mapping.identity[0]
            assert isinstance(column, Column)
            table = pa.Table.from_pylist([{**record, column.name: name}])
            write = WriteProfilesToMixpanel(
                mapping, ProjectToken("env:TEST_TOKEN"), endpoint=mixpanel.url
            )
            _ = pipeline | f"{name} read" >> beam.Create([table]) | name >> write
    for name, (_, wanted) in USERS.items():
        profile = mixpanel.profile(name)
        properties = dict(profile["properties"])
        properties.pop("$last_seen", None)
        if "$created" in properties:
            properties["$created"] = properties["$created"][:19]
        assert properties == wanted, name


@pytest.mark.parametrize("name", PRESETS)
def test_the_wrong_file_is_refused(name: str) -> None:
    check_preset(name, list(RECORDS[name]))
    with pytest.raises(InputError, match=f"does not look like an export of {name}"):
        check_preset(name, ["order_id", "customer"])


def test_a_name_that_is_none() -> None:
    with pytest.raises(SettingError, match="Did you mean 'amplitude'"):
        preset("amplitud")


@pytest.mark.parametrize("name", PRESETS)
def test_it_explains_itself(name: str) -> None:
    text = preset(name)
    assert text.startswith("# ")
    assert ("insert_id:" in text) == (name in SAMPLES)
    assert ("--endpoint-kind engage" in text) == (name in USERS)
