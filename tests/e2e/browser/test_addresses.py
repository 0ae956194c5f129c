"""The CC field: whatever way addresses come in, and what is said about those that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from office import Opener
from tenant import Tenant

CASES = Path(__file__).resolve().parents[3] / "functions" / "back-office" / "address-cases.json"


def test_page_checks_addresses_by_the_same_table_as_the_api(open_office: Opener) -> None:
    office = open_office()
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    script = """async (texts) => {
        const app = document.querySelector("script[src]").src;
        const { fault } = await import(new URL("addresses.js", app));
        return texts.map((text) => [text, fault(text)]);
    }"""
    assert office.page.evaluate(script, [text for text, _ in cases]) == cases


def test_typed_addresses_become_chips_at_comma_semicolon_enter_and_when_the_field_is_left(
    tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    field = dialog.get_by_label("CC recipients")
    expect(field).to_be_focused()
    field.press_sequentially("a@copies.example,b@copies.example; c@copies.example")
    field.press("Enter")
    field.press_sequentially("d@copies.example")
    field.press("Tab")
    office.expect_chips([f"{name}@copies.example" for name in "abcd"])
    expect(dialog).to_contain_text(f"The file will be sent to {tenant.email} and 4 others.")


@pytest.mark.parametrize(
    ("pasted", "chips"),
    [
        ("a@x.example,b@x.example", ["a@x.example", "b@x.example"]),
        ("a@x.example; b@x.example;", ["a@x.example", "b@x.example"]),
        ("a@x.example\nb@x.example\r\n\r\nc@x.example\n", ["a@x.example", "b@x.example", "c@x.example"]),
        ("a@x.example b@x.example\tc@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        ('"Roe, Ann" <a@x.example>; Bob <b@x.example>', ["a@x.example", "b@x.example"]),
        ("A@x.example, a@X.example, a@x.example", ["A@x.example"]),
        ("a@x.example, no address, b@", ["a@x.example", "no address", "b@"]),
    ],
)
def test_pasted_list_is_taken_apart(pasted: str, chips: list[str], tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.open_launch()
    office.paste(pasted)
    office.expect_chips(chips)


def test_one_pasted_address_stays_in_the_field_to_go_on_typing(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    field = office.open_launch().get_by_label("CC recipients")
    office.paste("finance@copies.example")
    expect(field).to_have_value("finance@copies.example")
    office.expect_chips([])


def test_fault_shows_as_it_is_entered_keeps_the_list_from_being_sent_and_is_corrected(
    tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    field = dialog.get_by_label("CC recipients")
    field.press_sequentially("finance@copies,")
    expect(dialog.locator(".faults")).to_contain_text("The part after ‘@’ is not a domain such as example.com.")
    expect(field).to_have_attribute("aria-invalid", "true")
    office.inspect("a faulty address")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Correct or remove the marked addresses first.")
    expect(field).to_be_focused()
    # The chip is called by its text and its fault, and leads back into the field.
    dialog.get_by_role("button", name="finance@copies, not valid").click()
    expect(field).to_have_value("finance@copies")
    field.press_sequentially(".example,")
    office.expect_chips(["finance@copies.example"])
    expect(dialog.locator(".faults")).to_be_empty()
    assert tenant.items() == []


def test_list_of_more_than_49_is_not_sent(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    office.paste(",".join(f"cc{number}@copies.example" for number in range(50)))
    expect(dialog.locator(".faults")).to_contain_text("At most 49 CC addresses: remove 1.")
    dialog.get_by_role("button", name="Remove cc7@copies.example").click()
    expect(dialog.locator(".faults")).to_be_empty()
    expect(dialog.locator(".chip-text")).to_have_count(49)
    office.expect_no_sideways_scrolling()


def test_chips_are_one_tab_stop_and_keys_move_correct_and_remove(tenant: Tenant, open_office: Opener) -> None:
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
    expect(dialog.get_by_role("button", name="b@x.example. Correct")).to_be_focused()
    keyboard.press("Enter")
    expect(field).to_be_focused()
    expect(field).to_have_value("b@x.example")
    keyboard.press("Enter")
    office.expect_chips(["a@x.example", "b@x.example"])
    # Back from the field to the chips, and before them to what stands before the field: two steps.
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


def test_main_recipient_and_repeated_addresses_are_left_out(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    dialog = office.open_launch()
    office.paste(f"{tenant.email.upper()}, a@x.example, A@x.example")
    office.expect_chips(["a@x.example"])
    expect(dialog.get_by_role("status").filter(has_text="already a recipient")).to_have_count(1)
