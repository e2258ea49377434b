"""An emulator of Mixpanel's ingestion API on this machine.

It answers ``/import``, ``/track``, ``/engage``, ``/groups`` and ``/lookup-tables`` as Mixpanel
documents them, keeps what it accepts in SQLite, and shows it as JSON under ``/emulator/``. It
shares no code with the sink, so that one mistake cannot hide in both.

Start it with ``mixpanel-sink emulator`` or, in a test, with
:class:`mixpanel_sink.emulator.testing.Emulator`.
"""
