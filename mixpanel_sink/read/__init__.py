"""Readers of files other than Parquet. Their records know file and row, as Parquet's tables do.

    ReadRecords(["gs://bucket/events/*.jsonl"], JsonLines())

gives what `WriteToMixpanel` takes. `JsonLines`, `CsvRows` and `AvroRecords` are readers; another
is a class with `columns` and `rows`.
"""

from mixpanel_sink.read.avro import AvroRecords
from mixpanel_sink.read.csv import CsvRows
from mixpanel_sink.read.json_lines import JsonLines
from mixpanel_sink.read.records import BadRecord, Reader, ReadRecords

__all__ = ["AvroRecords", "BadRecord", "CsvRows", "JsonLines", "ReadRecords", "Reader"]
