"""Complete runs: what the `mixpanel-sink` command and the programs in `pipelines/` start."""
