"""The `mixpanel-sink` command.

    init      proposes a mapping for a file
    check     shows what an import would send, and sends nothing
    import    sends files to Mixpanel
    replay    sends failed records again, after a fix
    verify    reads back what Mixpanel holds and compares it with the files
    export    writes a project's events to files
    status    shows what a checkpoint knows of its imports
    lookup-table  replaces a lookup table with the rows of a file, or lists the tables
    emulator  runs a local Mixpanel emulator
    demo      shows all of that on made-up data
    doctor    checks this machine: versions, credentials, network
    explain   says what an error code means, and what to do

Each is a file here. Exit codes: 0 all is well; 1 the job failed, or what was compared is not
equal; 2 a setting is wrong, and nothing was sent; 130 interrupted; 143 ended by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mixpanel_sink import interrupts
from mixpanel_sink.cli import streams


def main(args: Sequence[str] | None = None) -> int:
    """Runs `mixpanel-sink` and returns its exit code. Without args it runs this process's own
    command, and then ends the process."""
    if args is None:  # before what takes time to import
        interrupts.end_at_once()
        streams.prepare()
    from mixpanel_sink.cli import app

    if args is None:
        app.leave(app.run(sys.argv[1:]))
    return app.run(args)
