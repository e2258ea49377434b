"""The checkpoint: a log of what Mixpanel has accepted, outside the runner.

A runner that retries a bundle, or a job that is started again after a kill, makes the
same chunks again. Those that the log knows are not sent: at 60 requests an hour each
costs a minute. What the log does not know is sent, and Mixpanel's deduplication guards it.

| modules                                    | what they hold                                      |
|--------------------------------------------|-----------------------------------------------------|
| `owner`, `lease`                           | what a checkpoint belongs to; one run at a time     |
| `stored`, `folder`, `clouds`               | small files on disk and in cloud storage            |
| `journal`                                  | lines that many processes write there               |
| `log`, `registry`                          | the logs, as Send uses them; those that are open    |
| `events`, `updates`                        | the log of events, and that of profile updates      |
| `manifest`, `plan`, `counts`, `commit`     | imported files, what is new, and the end of a run   |
| `half_sent`, `compact`                     | files that a run began; the log once it has ended   |
| `mapping_change`                           | what another mapping means for imported files       |
| `since`                                    | files of which only the newest rows are read        |
| `profiles`, `profile_store`                | which profiles have changed since they were sent    |
| `profile_entries`                          | their entries, in memory and on disk                |
| `lookup_tables`                            | what lookup tables hold                             |
"""
