"""Readers of files other than Parquet. Their records know file and row, as Parquet's tables do.

    ReadRecords(["gs://bucket/events/*.jsonl"], JsonLines())

gives what `WriteToMixpanel` takes. `JsonLines`, `CsvRows` and `AvroRecords` are readers; another
is a class with `columns` and `rows`.
"""

from mixpanel_sink.sources.avro import AvroRecords
from mixpanel_sink.sources.csv_rows import CsvRows
from mixpanel_sink.sources.json_lines import JsonLines
from mixpanel_sink.sources.records import BadRecord, Reader, ReadRecords

__all__ = ["AvroRecords", "BadRecord", "CsvRows", "JsonLines", "ReadRecords", "Reader"]
