"""Where Python keeps what it compiles, whatever the user's environment says: the emulator and the CLIs start often.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

from pathlib import Path

ENVIRONMENT = {
    "PYTHONPYCACHEPREFIX": str(Path(__file__).resolve().parents[2] / "target" / "pycache"),
    "PYTHONDONTWRITEBYTECODE": "",
}
