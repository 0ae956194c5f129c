"""A page object of the back office. It finds elements by role and name, as assistive technology does."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

import golden

BACK_OFFICE = Path(__file__).resolve().parents[3] / "functions" / "back-office"
SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# All rules of axe for WCAG 2.2 AA, and its best practices.
AXE_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
# Only colours differ in dark mode.
COLOUR_RULES = {
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
    "resultTypes": ["violations"],
}
# The mail client's page has the landmarks, not the e-mail.
MAIL_RULES = {**AXE_RULES, "rules": {"landmark-one-main": {"enabled": False}, "region": {"enabled": False}}}
_axe = Axe()


class Office:
    """A tab with the back office."""

    def __init__(self, page: Page) -> None:
        self.page = page

    # ------------------------------------------------------------------------------------------------------- elements

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    @property
    def latest(self) -> Locator:
        return self.page.get_by_role("region", name="Latest export")

    @property
    def history(self) -> Locator:
        return self.page.get_by_role("table", name="Export history")

    @property
    def dialog(self) -> Locator:
        """The topmost dialog."""
        return self.page.locator("dialog[open]").last

    @property
    def message(self) -> Locator:
        """The message at the bottom of the page."""
        return self.page.locator(".messages")

    def row(self, export_id: str) -> Locator:
        return self.history.get_by_role("row").filter(has=self.page.get_by_title(f"Details of {export_id}", exact=True))

    @property
    def exports(self) -> Locator:
        """The ID buttons of the exports in the current history page, from top to bottom."""
        return self.history.locator("tbody tr:not(.skeleton) button.id")

    def expect_ids(self, ids: list[str]) -> None:
        titles = [f"Details of {export_id}" for export_id in ids]
        script = """titles => JSON.stringify(titles) === JSON.stringify(
            [...document.querySelectorAll("tbody tr:not(.skeleton) button.id")].map((b) => b.title))
            && document.querySelector("table.exports").ariaBusy === "false" """
        self.page.wait_for_function(script, arg=titles)

    # -------------------------------------------------------------------------------------------------------- actions

    def sign_in(self, key: str) -> None:
        self.page.get_by_label("API key").fill(key)
        self.button("Sign in").click()

    def expect_loaded(self) -> None:
        """Waits until the page and its initial data are loaded."""
        expect(self.page.locator("main#main h1")).to_be_visible()
        expect(self.page.locator("table.exports")).to_have_attribute("aria-busy", "false")
        expect(self.page.locator(".latest-body")).to_have_attribute("aria-busy", "false")

    def open_launch(self) -> Locator:
        self.button("Export CSV").click()
        dialog = self.page.get_by_role("dialog", name="Export marketplace payouts")
        expect(dialog).to_be_visible()
        return dialog

    def open_details(self, export_id: str) -> Locator:
        self.page.get_by_title(f"Details of {export_id}", exact=True).click()
        return self.expect_details(export_id)

    def expect_details(self, export_id: str) -> Locator:
        panel = self.page.get_by_role("dialog", name="Export details")
        expect(panel).to_contain_text(export_id)
        expect(panel).to_have_attribute("aria-busy", "false")
        return panel

    def expect_chips(self, texts: list[str]) -> None:
        expect(self.dialog.locator(".chip-text")).to_have_text(texts)

    def expect_query(self, **parameters: str) -> None:
        """Waits until the URL has exactly these query parameters."""
        script = (
            """wanted => JSON.stringify([...new URLSearchParams(location.search)].sort()) === JSON.stringify(wanted)"""
        )
        self.page.wait_for_function(script, arg=sorted([name, value] for name, value in parameters.items()))

    def serve_modules(self) -> None:
        """Lets scripts import the page's modules. The page itself has them in one script."""

        def serve(route: Route) -> None:
            route.fulfill(path=BACK_OFFICE / "assets" / route.request.url.rpartition("/")[2])

        self.page.route(re.compile(r"//[^/]+/[a-z-]+\.js$"), serve)

    def record_copies(self) -> Callable[[], str]:
        """Returns a function for the text that the page copied last. Reading the clipboard is not permitted."""
        self.page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        return lambda: str(self.page.evaluate("window.copied"))

    def paste(self, text: str) -> None:
        """Pastes into the focused element."""
        script = """text => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
            if (document.activeElement.dispatchEvent(event)) document.execCommand("insertText", false, text);
        }"""
        self.page.evaluate(script, text)

    # ------------------------------------------------------------------------------------ accessibility and appearance

    def inspect(
        self, state: str, picture: str | None = None, whole: bool = False, rules: dict[str, Any] = AXE_RULES
    ) -> None:
        """Checks the accessibility of the current state, light and dark. With --update, takes screenshots."""
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)
            self.settle()
            found = self._violations(rules if scheme == "light" else COLOUR_RULES)
            assert not found, f"{state}, {scheme}:\n{_report(found)}"
            if picture and golden.IS_UPDATE:
                self._take_screenshot(f"{picture}-{scheme}.png", whole)
        self.page.emulate_media(color_scheme="light")
        self.settle()

    def _violations(self, rules: dict[str, Any]) -> list[dict[str, Any]]:
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_axe.axe_script)
        found: list[dict[str, Any]] = self.page.evaluate("async rules => (await axe.run(rules)).violations", rules)
        return found

    def _take_screenshot(self, name: str, whole: bool) -> None:
        save_picture(self.page.screenshot(animations="disabled", full_page=whole), name)

    def settle(self) -> None:
        """Waits until animations end, because colours differ during an animation."""
        script = """async () => {
            await new Promise(requestAnimationFrame);
            const finite = document.getAnimations().filter((a) => a.effect.getTiming().iterations !== Infinity);
            await Promise.allSettled(finite.map((a) => a.finished));
        }"""
        self.page.evaluate(script)

    def expect_no_sideways_scrolling(self) -> None:
        script = """() => [document.documentElement, ...document.querySelectorAll("dialog[open]")]
            .filter((e) => e.scrollWidth > e.clientWidth)
            .map((e) => `${e.tagName}: ${e.scrollWidth} > ${e.clientWidth}`)"""
        overflows = self.page.evaluate(script)
        assert not overflows, f"horizontal overflow: {overflows}"

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Makes the tab hidden."""
        script = """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        self.page.evaluate(script, True)
        yield
        self.page.evaluate(script, False)


def save_picture(shot: bytes, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    # A palette of 256 colours is enough and reduces the file to a third.
    with Image.open(io.BytesIO(shot)) as image:
        colours = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colours.save(SCREENSHOTS / name, optimize=True)


# The type of the fixture `open_office`.
Opener = Callable[..., Office]


def _report(violations: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{found['id']}: {found['help']}\n"
        + "\n".join(f"  {node['html']}\n    {node['failureSummary']}" for node in found["nodes"])
        for found in violations
    )
