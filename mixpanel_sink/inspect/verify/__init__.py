"""Proof on the real project: what Mixpanel holds, read back and compared with the input.

| file         | job                                                              |
|--------------|------------------------------------------------------------------|
| `export.py`  | reads the raw export API, within its quota                       |
| `events.py`  | one form for events of both sides, and what counts as the same   |
| `spill.py`   | keeps events on disk, in parts that fit into memory              |
| `match.py`   | compares a part of both sides                                    |
| `verify.py`  | all of it, and the result                                        |
"""

from mixpanel_sink.inspect.verify.export import Exporter, export_destination
from mixpanel_sink.inspect.verify.verify import Verification, render, verify

__all__ = ["Exporter", "Verification", "export_destination", "render", "verify"]
