"""From records to the JSON texts of Mixpanel events and updates. In the order of Convert:

| modules                              | what they hold                                           |
|--------------------------------------|----------------------------------------------------------|
| `records`, `blocks`                  | what a record may be; many of them, with their origin    |
| `shaping`, `shape`                   | a mapping's shape, for blocks and for tables             |
| `apart`, `told`                      | rows and columns whose types their values tell           |
| `unpacking`, `casts`, `defaults`     | its steps for the values of a column                     |
| `conditions`, `sampling`             | which records it keeps                                   |
| `filtering`, `redaction`, `routing`  | blocks to fewer records, hidden columns, projects        |
| `encoder`, `choose`                  | the protocol of encoders, and which one is used          |
| `mapped_events`, `raw_events`        | the encoders of events, record by record                 |
| `profile_updates`, `operations`      | the encoders of profile updates, and their operations    |
| `columnar`, `tables`, `event_tables` | tables to events by column; records as such tables       |
| `json_columns`, `arrow_rows`         | columns of JSON in a table; rows of a table as dicts     |
| `event_json`, `checks`, `times`      | the text of an event; names, ids and times in it         |
| `hashing`, `keys`                    | hashes for ids, and for comparing events                 |
| `replay`                             | failed records, encoded once more                        |
| `schema`                             | whether a mapping fits the types of an input             |
| `lookup_table`                       | records to the CSV of a lookup table                     |

The encoders of records and `columnar` follow one mapping and make equal events.
"""
