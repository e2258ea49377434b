"""The two stages of the flow, Convert and Send, as Beam DoFns. In the order of the flow:

| modules                              | what they hold                                           |
|--------------------------------------|----------------------------------------------------------|
| `convert`, `converter`               | Convert: the DoFn, and what it does with each element    |
| `gather`, `pack`                     | single records to blocks; blocks to chunks of a project  |
| `outputs`, `seen`                    | what Convert emits                                       |
| `local`                              | Convert in this process, for `check`                     |
| `send`, `streaming`, `send_steps`    | Send: for any input, for streams, and what Beam calls    |
| `lane_state`, `timers`               | the state of a lane, and its timers                      |
| `sharing`                            | several sinks of one pipeline share a project's quota    |
"""
