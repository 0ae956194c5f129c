"""Numbers and times on the page."""

from __future__ import annotations

import json

import pytest

from office import BACK_OFFICE, Opener


def test_sizes_are_rounded(open_office: Opener) -> None:
    office = open_office()
    office.serve_modules()
    cases = json.loads((BACK_OFFICE / "size-cases.json").read_text(encoding="utf-8"))
    script = "async (sizes) => { const { size } = await import('./format.js'); return sizes.map(size); }"
    assert office.page.evaluate(script, [size for size, _ in cases]) == [shown for _, shown in cases]


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
