"""Proof on the real project: what Mixpanel holds, read back and compared with the input.

| file          | job                                                                          |
|---------------|------------------------------------------------------------------------------|
| `exact.py`    | the exact values of an input's tables and records                            |
| `held.py`     | what Mixpanel should hold for such a value                                   |
| `ids.py`      | ids and hashes, `times.py` the event's time, both from exact values          |
| `expected.py` | the events that should be there: all of the above by the mapping's settings  |
| `columns.py`, `tables.py` | the same for whole tables, as far as it is certain           |
| `exported.py` | the events that Mixpanel holds, whole blocks of lines at a time               |
| `canonical.py`| hashes of values: what counts as the same has the same hash                   |
| `sides.py`, `rows.py` | both sides on disk: what is needed of each event, and where it lies   |
| `compare.py`  | compares both sides by these hashes, and the rest by `match.py`               |
| `events.py`   | one form for events of both sides, and what counts as the same               |
| `spill.py`    | keeps events on disk, in parts that fit into memory                          |
| `match.py`    | compares a part of both sides                                                |
| `findings.py` | adds up the differences                                                      |
| `result.py`   | the result, as a value and for people                                        |
| `verify.py`   | all of it                                                                    |

`read/raw_export.py` reads the raw export API, within its quota.

Nothing here imports the encoders: a proof that shares their code would share their mistakes.
"""

from mixpanel_sink.inspect.verify.result import Verification, render
from mixpanel_sink.inspect.verify.verify import verify
from mixpanel_sink.read.raw_export import Exporter, export_destination

__all__ = ["Exporter", "Verification", "export_destination", "render", "verify"]
