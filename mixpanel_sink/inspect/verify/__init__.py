"""Proof on the real project: what Mixpanel holds, read back and compared with the input.

| modules                      | what they hold                                                |
|------------------------------|---------------------------------------------------------------|
| `verify`                     | all of it                                                     |
| `exact`, `held`              | an input's exact values, and what Mixpanel should hold        |
| `ids`, `times`               | ids, hashes and the event's time, from exact values           |
| `roles`                      | what columns are for                                          |
| `shaped`, `conditions`       | what a shape makes of records, and which it leaves out        |
| `expected`, `raw`, `places`  | the events that should be there, and where each comes from    |
| `columns`, `tables`          | the same for whole tables, as far as it is certain            |
| `exported`                   | the events that Mixpanel holds, whole blocks at a time        |
| `canonical`                  | hashes of values: what counts as the same has the same hash   |
| `sides`, `rows`, `spill`     | both sides on disk, in parts that fit into memory             |
| `compare`, `match`           | compares both sides: by hashes, and the rest event by event   |
| `events`                     | one form for events of both sides, and which are the same     |
| `findings`, `result`         | adds up the differences; the result as a value and as text    |

`read/raw_export.py` reads the raw export API, within its quota.

Nothing here imports the encoders: a proof that shares their code would share their mistakes.
"""

from mixpanel_sink.inspect.verify.result import Verification, render
from mixpanel_sink.inspect.verify.verify import verify
from mixpanel_sink.read.raw_export import Exporter, export_destination

__all__ = ["Exporter", "Verification", "export_destination", "render", "verify"]
