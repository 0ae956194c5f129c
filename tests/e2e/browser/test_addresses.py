"""The CC field: typing, pasting, editing and validating addresses."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from office import BACK_OFFICE, Opener
from tenant import Tenant


def test_addresses_are_validated_by_the_rules_of_the_api(open_office: Opener) -> None:
    office = open_office()
    cases = json.loads((BACK_OFFICE / "address-cases.json").read_text(encoding="utf-8"))
    office.serve_modules()
    script = """async (texts) => {
        const { validationError } = await import("./addresses.js");
        return texts.map((text) => [text, validationError(text)]);
    }"""
    assert office.page.evaluate(script, [text for text, _ in cases]) == cases


def test_typed_addresses_become_chips(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    field = dialog.get_by_label("CC recipients")
    expect(field).to_be_focused()
    field.press_sequentially("a@cc.example,b@cc.example; c@cc.example")
    field.press("Enter")
    field.press_sequentially("d@cc.example")
    field.press("Tab")
    office.expect_chips([f"{name}@cc.example" for name in "abcd"])
    expect(dialog).to_contain_text(f"A link will be sent to {tenant.email} and 4 others.")


@pytest.mark.parametrize(
    ("pasted", "chips"),
    [
        ("a@x.example,b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example; b@x.example;", ["a@x.example", "b@x.example"]),
        ("a@x.example\nb@x.example\r\n\r\nc@x.example\n", ["a@x.example", "b@x.example", "c@x.example"]),
        ("a@x.example b@x.example\tc@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        ('"Roe, Ann" <a@x.example>; Bob <b@x.example>', ["a@x.example", "b@x.example"]),
        ("A@x.example, a@X.example, a@x.example", ["A@x.example"]),
        ("a@x.example, not valid, b@", ["a@x.example", "not valid", "b@"]),
    ],
)
def test_pasted_list_is_split_into_chips(pasted: str, chips: list[str], tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.open_launch()
    office.paste(pasted)
    office.expect_chips(chips)


def test_single_pasted_address_stays_in_the_field(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    field = office.open_launch().get_by_label("CC recipients")
    office.paste("finance@cc.example")
    expect(field).to_have_value("finance@cc.example")
    office.expect_chips([])


def test_invalid_address_blocks_the_launch_until_corrected(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    field = dialog.get_by_label("CC recipients")
    field.press_sequentially("finance@cc,")
    expect(dialog.locator(".errors")).to_contain_text("The part after ‘@’ must be a domain such as example.com.")
    expect(field).to_have_attribute("aria-invalid", "true")
    office.inspect("an invalid address")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Correct or remove the marked addresses first.")
    expect(field).to_be_focused()
    # The chip's name contains its error. Clicking it edits the address.
    dialog.get_by_role("button", name="finance@cc, not valid").click()
    expect(field).to_have_value("finance@cc")
    field.press_sequentially(".example,")
    office.expect_chips(["finance@cc.example"])
    expect(dialog.locator(".errors")).to_be_empty()
    assert tenant.items() == []


def test_more_than_49_addresses_show_an_error(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    office.paste(",".join(f"cc{number}@cc.example" for number in range(50)))
    expect(dialog.locator(".errors")).to_contain_text("At most 49 CC recipients are allowed. Remove 1.")
    dialog.get_by_role("button", name="Remove cc7@cc.example").click()
    expect(dialog.locator(".errors")).to_be_empty()
    expect(dialog.locator(".chip-text")).to_have_count(49)
    office.expect_no_sideways_scrolling()


def test_chips_are_one_tab_stop_with_keyboard_editing(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    keyboard = office.page.keyboard
    field = dialog.get_by_label("CC recipients")
    field.press_sequentially("a@x.example,b@x.example,c@x.example,")
    keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("button", name="Remove c@x.example")).to_be_focused()
    keyboard.press("Delete")
    expect(dialog.get_by_role("button", name="Remove b@x.example")).to_be_focused()
    keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("button", name="b@x.example. Edit")).to_be_focused()
    keyboard.press("Enter")
    expect(field).to_be_focused()
    expect(field).to_have_value("b@x.example")
    keyboard.press("Enter")
    office.expect_chips(["a@x.example", "b@x.example"])
    # The first step back focuses the chips, the second the element before the field.
    keyboard.press("Shift+Tab")
    assert office.page.evaluate("document.activeElement.closest('.chips') !== null")
    keyboard.press("Shift+Tab")
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    field.focus()
    keyboard.press("Backspace")
    expect(field).to_have_value("b@x.example")
    field.fill("")
    keyboard.press("Backspace")
    keyboard.press("Control+A")
    keyboard.press("Backspace")
    office.expect_chips([])


def test_main_recipient_and_duplicates_are_omitted(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    office.paste(f"{tenant.email.upper()}, a@x.example, A@x.example")
    office.expect_chips(["a@x.example"])
    expect(dialog.get_by_role("status").filter(has_text="already a recipient")).to_have_count(1)
