"""Complete runs: what the `mixpanel-sink` command and the programs in `pipelines/` start.

| modules                                    | what they hold                                      |
|--------------------------------------------|-----------------------------------------------------|
| `import_files`, `replay`, `stream_pubsub`  | jobs that send events and profiles                  |
| `lookup_table`, `export`, `demo`           | other jobs                                          |
| `verify`, `verify_remotely`, `check`       | jobs that compare, or only look                     |
| `template`                                 | the job that a Flex Template starts                 |
| `command`, `parse`, `beam_options`         | from a command line to settings                     |
| `sources`, `mappings`, `build`             | from settings to what a graph is built from         |
| `run`, `runners`, `launches`, `outputs`    | a run on its runner, and what it writes             |
| `watch`, `progress`                        | a run while it lasts                                |
| `outcome`, `errors`, `notify`, `following` | the end of a run, told to people and machines       |
| `console`                                  | words and colours on a terminal                     |
| `incremental`, `since`, `mapping_changed`  | imports with a checkpoint: what is left to do       |
| `missing`, `status`, `soon`                | profiles that left the input; what a checkpoint has |
| `launcher`, `startup`, `hidden`            | a quick start, and a quick end                      |
| `sdk_worker`, `servers`                    | the same for workers, and for Prism                 |
| `local`                                    | a run against the emulator on this machine          |
| `reference`                                | writes the files that are made from tables          |
"""
