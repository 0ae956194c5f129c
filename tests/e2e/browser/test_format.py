"""Numbers and times on the page."""

from __future__ import annotations

import pytest

from office import Opener


def test_sizes_are_rounded(open_office: Opener) -> None:
    office = open_office()
    office.serve_modules()
    expected = {
        0: "0 bytes",
        1: "1 byte",
        999: "999 bytes",
        1_000: "1.0 kB",
        1_049: "1.0 kB",
        1_051: "1.1 kB",
        999_949: "999.9 kB",
        999_950: "1.0 MB",
        1_260_000: "1.3 MB",
        2_000_000_000_000_000: "2000.0 TB",
    }
    script = "async (sizes) => { const { size } = await import('./format.js'); return sizes.map(size); }"
    assert office.page.evaluate(script, list(expected)) == list(expected.values())


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("Europe/Paris", "1 Jul 2026, 02:00 CEST"),
        ("America/New_York", "30 Jun 2026, 20:00 GMT-4"),
        ("Asia/Kolkata", "1 Jul 2026, 05:30 GMT+5:30"),
        ("UTC", "1 Jul 2026, 00:00 UTC"),
    ],
)
def test_times_name_their_zone(zone: str, shown: str, open_office: Opener) -> None:
    office = open_office(timezone_id=zone)
    office.serve_modules()
    script = "async (time) => { const { localTime } = await import('./format.js'); return localTime(time); }"
    assert office.page.evaluate(script, "2026-07-01T00:00:00.000Z") == shown
