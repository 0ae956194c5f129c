"""The implementation of `tests/run`. Runs with a bare Python: import only the standard library here.

`parts` defines the parts, `schedule` runs them in parallel, `job` runs the commands of a part, `counts` parses their
output, `report` prints the summary, `tools` checks for required programs, and `worktree` detects changed files.
`project_copy` is for parts that change the code.
"""
