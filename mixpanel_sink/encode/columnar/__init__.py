"""The columnar encoder: Arrow tables to the JSON texts of events.

| module        | what it holds                                                          |
|---------------|------------------------------------------------------------------------|
| `encoder`     | `ColumnarEncoder`: a table to an `EncodedTable`                        |
| `plan`        | what to do with the tables of one schema: a list of columns            |
| `inputs`      | the table's columns that are needed, as Polars reads them              |
| `columns`     | a column as a value: its expression, checks and form; the properties   |
| `identity`    | the columns of the event's name, ids, ip and `$insert_id`              |
| `times`       | the column of the event's time                                         |
| `pieces`      | the pieces of which an event's JSON is put together                    |
| `values`      | Polars expressions for values of each Arrow type                       |
| `numbers`     | decimals and durations, with all their digits where ids need them      |
| `expressions` | Polars expressions for texts, JSON and hashes                          |
| `texts`       | the JSON texts where Polars has written them, without a copy           |
| `arrow_types` | which Arrow types and arrays can be encoded by columns                 |
"""

from mixpanel_sink.encode.columnar.encoder import ColumnarEncoder, EncodedTable

__all__ = ["ColumnarEncoder", "EncodedTable"]
