"""What `tests/run` is made of. Runs with a bare Python: nothing outside the standard library may be imported here.

`parts` says what there is to run, `schedule` runs it side by side, `job` runs the commands of one part, `counts` reads
what they print, `report` prints the summary, `tools` knows what a machine must have, and `worktree` what git sees.
"""
