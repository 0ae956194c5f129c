"""The exports as the page knows them, from responses in any order."""

from __future__ import annotations

import pytest

from office import Opener

PENDING, LATER = ("PENDING", "2026-10-08T08:30:10.000Z"), ("PENDING", "2026-10-08T08:30:10.150Z")
FAILED, READY = ("FAILED", "2026-10-08T08:30:10.100Z"), ("READY", "2026-10-08T08:30:20.000Z")


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        ([PENDING, LATER], LATER),
        ([LATER, PENDING], LATER),
        # The function that failed the export had read its clock before the generator recorded its progress.
        ([LATER, FAILED], FAILED),
        ([FAILED, LATER], FAILED),
        # The e-mail was resent.
        ([FAILED, READY], READY),
        ([READY, FAILED], READY),
    ],
)
def test_later_of_two_responses_is_kept(
    responses: list[tuple[str, str]], expected: tuple[str, str], open_office: Opener
) -> None:
    office = open_office()
    office.serve_modules()
    script = """async (responses) => {
        const { Exports } = await import('./exports.js');
        const exports = new Exports();
        for (const [status, updatedAt] of responses) exports.put({ exportId: "mpo_1", status, updatedAt });
        const { status, updatedAt } = exports.get("mpo_1");
        return [status, updatedAt];
    }"""
    assert tuple(office.page.evaluate(script, responses)) == expected
