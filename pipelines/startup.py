"""Imports what every pipeline needs, without the garbage collector. Import it first.

Beam's imports make a million objects that live as long as the process does. Looking through
them for garbage, again and again and once more at the end, takes as long as half the imports.
"""

import gc

_was_on = gc.isenabled()
gc.disable()
try:
    import apache_beam  # noqa: F401

    import mixpanel_sink.parquet
    import mixpanel_sink.write  # noqa: F401
finally:
    if _was_on:
        gc.enable()
    gc.freeze()
