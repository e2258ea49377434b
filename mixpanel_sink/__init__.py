"""An Apache Beam sink for Mixpanel.

>>> from mixpanel_sink import WriteToMixpanel, EventMapping, ApiSecret, Quota

Names are imported on first use: Beam alone takes over a second, and the command
line and the emulator do without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mixpanel_sink.version import __version__ as __version__

if TYPE_CHECKING:
    from mixpanel_sink.api.identity import alias, identify, merge
    from mixpanel_sink.api.limits import Limits
    from mixpanel_sink.errors import (
        AccountingError,
        AuthenticationError,
        CheckpointError,
        CredentialsError,
        DestinationError,
        InputError,
        MappingError,
        MixpanelSinkError,
        SettingError,
    )
    from mixpanel_sink.inspect.preview import preview
    from mixpanel_sink.read.avro import AvroRecords
    from mixpanel_sink.read.bigquery import BigQueryTable
    from mixpanel_sink.read.csv import CsvRows
    from mixpanel_sink.read.failed_records import ReadFailedRecords
    from mixpanel_sink.read.json_lines import JsonLines
    from mixpanel_sink.read.map_records import MapRecords
    from mixpanel_sink.read.read_all import ReadAllParquetTables
    from mixpanel_sink.read.records import BadRecord, Reader
    from mixpanel_sink.read.table_transform import ReadBigQueryTables
    from mixpanel_sink.read.transform import ReadParquetTables, ReadRecords
    from mixpanel_sink.report.accounting import CheckAccounting
    from mixpanel_sink.report.failures import SummarizeFailures
    from mixpanel_sink.results import AcceptedRecord, FailedRecord, Receipt, WriteResult
    from mixpanel_sink.settings.checkpoint import Checkpoint
    from mixpanel_sink.settings.columns import Column, Constant, ContentId, PositionId, TimeColumn
    from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken, ServiceAccount
    from mixpanel_sink.settings.filter import Filter
    from mixpanel_sink.settings.mapping import EventMapping
    from mixpanel_sink.settings.privacy import Privacy
    from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping
    from mixpanel_sink.settings.project import Project
    from mixpanel_sink.settings.quota import Quota, Rate
    from mixpanel_sink.settings.retry import RetryPolicy
    from mixpanel_sink.settings.shape import Sample, Shape, Split
    from mixpanel_sink.write import WriteToMixpanel
    from mixpanel_sink.write_lookup_table import ReplaceLookupTable
    from mixpanel_sink.write_profiles import WriteGroupsToMixpanel, WriteProfilesToMixpanel

_HOME = {
    "AcceptedRecord": "results",
    "AccountingError": "errors",
    "alias": "api.identity",
    "ApiSecret": "settings.credentials",
    "AuthenticationError": "errors",
    "AvroRecords": "read.avro",
    "BadRecord": "read.records",
    "BigQueryTable": "read.bigquery",
    "CheckAccounting": "report.accounting",
    "Checkpoint": "settings.checkpoint",
    "CheckpointError": "errors",
    "Column": "settings.columns",
    "Constant": "settings.columns",
    "ContentId": "settings.columns",
    "CredentialsError": "errors",
    "CsvRows": "read.csv",
    "DestinationError": "errors",
    "EventMapping": "settings.mapping",
    "FailedRecord": "results",
    "Filter": "settings.filter",
    "GroupMapping": "settings.profile_mapping",
    "identify": "api.identity",
    "InputError": "errors",
    "JsonLines": "read.json_lines",
    "Limits": "api.limits",
    "MappingError": "errors",
    "MapRecords": "read.map_records",
    "merge": "api.identity",
    "MixpanelSinkError": "errors",
    "PositionId": "settings.columns",
    "preview": "inspect.preview",
    "Privacy": "settings.privacy",
    "ProfileMapping": "settings.profile_mapping",
    "Project": "settings.project",
    "ProjectToken": "settings.credentials",
    "Quota": "settings.quota",
    "Rate": "settings.quota",
    "ReadAllParquetTables": "read.read_all",
    "ReadBigQueryTables": "read.table_transform",
    "Reader": "read.records",
    "ReadFailedRecords": "read.failed_records",
    "ReadParquetTables": "read.transform",
    "ReadRecords": "read.transform",
    "Receipt": "results",
    "ReplaceLookupTable": "write_lookup_table",
    "RetryPolicy": "settings.retry",
    "Sample": "settings.shape",
    "ServiceAccount": "settings.credentials",
    "SettingError": "errors",
    "Shape": "settings.shape",
    "Split": "settings.shape",
    "SummarizeFailures": "report.failures",
    "TimeColumn": "settings.columns",
    "WriteGroupsToMixpanel": "write_profiles",
    "WriteProfilesToMixpanel": "write_profiles",
    "WriteResult": "results",
    "WriteToMixpanel": "write",
}
"""The module of each public name."""

__all__ = [
    "AcceptedRecord",
    "AccountingError",
    "ApiSecret",
    "AuthenticationError",
    "AvroRecords",
    "BadRecord",
    "BigQueryTable",
    "CheckAccounting",
    "Checkpoint",
    "CheckpointError",
    "Column",
    "Constant",
    "ContentId",
    "CredentialsError",
    "CsvRows",
    "DestinationError",
    "EventMapping",
    "FailedRecord",
    "Filter",
    "GroupMapping",
    "InputError",
    "JsonLines",
    "Limits",
    "MapRecords",
    "MappingError",
    "MixpanelSinkError",
    "PositionId",
    "Privacy",
    "ProfileMapping",
    "Project",
    "ProjectToken",
    "Quota",
    "Rate",
    "ReadAllParquetTables",
    "ReadBigQueryTables",
    "ReadFailedRecords",
    "ReadParquetTables",
    "ReadRecords",
    "Reader",
    "Receipt",
    "ReplaceLookupTable",
    "RetryPolicy",
    "Sample",
    "ServiceAccount",
    "SettingError",
    "Shape",
    "Split",
    "SummarizeFailures",
    "TimeColumn",
    "WriteGroupsToMixpanel",
    "WriteProfilesToMixpanel",
    "WriteResult",
    "WriteToMixpanel",
    "alias",
    "identify",
    "merge",
    "preview",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
