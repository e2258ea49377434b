"""Files and tables, read as Arrow tables and blocks of records that know their file and row.

| modules                                    | what they hold                                     |
|--------------------------------------------|----------------------------------------------------|
| `source`, `registry`                       | the protocols of inputs and formats; all formats   |
| `files`, `listing`, `partitions`           | which files a pattern means, and keys in paths     |
| `file_source`, `selection`, `pruning`      | files as an input, and which rows are wanted       |
| `since`, `watermark`                       | rows that came since the last run                  |
| `parquet`, `int96`, `arrow`, `orc`         | formats that are read as tables                    |
| `csv`, `csv_lines`, `csv_tables`           | CSV, row by row and by blocks                      |
| `json_lines`, `json_values`                | JSON, line by line and value by value              |
| `json_kinds`, `json_tables`, `marks`       | JSON by blocks                                     |
| `lines`                                    | lines of text, from any open file                  |
| `ahead`                                    | blocks that are read ahead on threads              |
| `records`, `avro`, `excel`                 | formats that are read record by record             |
| `tables`, `delta`, `iceberg`               | tables that other systems hold                     |
| `bigquery`, `bigquery_jobs`                | BigQuery                                           |
| `mixpanel_project`, `raw_export`           | another Mixpanel project                           |
| `transform`, `since_transform`, `read_all` | reading files in a pipeline                        |
| `table_transform`, `in_turns`              | reading tables in a pipeline                       |
| `map_records`, `failed_records`            | a function for each record; failed records again   |
| `connection`, `given`, `shown`             | failing connections; settings checked and shown    |
"""
