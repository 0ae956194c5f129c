#!/usr/bin/env python3
"""Runs rustdoc for `cargo test --doc`, and first checks that the documentation itself builds without warnings.

`cargo doc` would check it too, but compile all dependencies a second time.
"""

from __future__ import annotations

import os
import subprocess
import sys

arguments = sys.argv[1:]
if "--test" in arguments:
    document = [argument for argument in arguments if argument != "--test"]
    if code := subprocess.run(["rustdoc", *document, "--out-dir", "target/doc", "-Dwarnings"]).returncode:
        sys.exit(code)
os.execvp("rustdoc", ["rustdoc", *arguments])
