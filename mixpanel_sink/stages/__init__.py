"""The two stages of the flow, Convert and Send, as Beam DoFns."""
