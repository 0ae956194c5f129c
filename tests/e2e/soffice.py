"""Opens files in LibreOffice, with the settings of a region."""

from __future__ import annotations

import subprocess
from pathlib import Path

LOCALES = ("en-US", "de-DE", "fr-FR")
PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry"><item oor:path="/org.openoffice.Setup/L10N">
<prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>LOCALE</value></prop></item></oor:items>"""


def convert(file: Path, to: str, locale: str, folder: Path, csv_options: str = "") -> Path:
    """Saves the file in another format, as LibreOffice shows it in this region. `csv_options` are those of its import
    dialog."""
    profile = folder / f"profile-{locale}"
    if not profile.exists():
        (profile / "user").mkdir(parents=True)
        (profile / "user" / "registrymodifications.xcu").write_text(PROFILE.replace("LOCALE", locale))
    command = ["soffice", f"-env:UserInstallation={profile.as_uri()}", "--headless"]
    command += [f"--infilter=CSV:{csv_options}"] if csv_options else []
    command += ["--convert-to", to, "--outdir", str(folder), str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder / f"{file.stem}.{to}"
