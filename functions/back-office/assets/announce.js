// Short messages at the bottom of the page, which screen readers read out.

import { h, icon } from "./dom.js";

const DISPLAY_MS = 6000;
/** Screen readers miss content that is added together with its live region. */
const ANNOUNCE_DELAY_MS = 60;

const visible = { region: liveRegion("messages"), timer: 0 };
const spoken = { region: liveRegion("visually-hidden"), timer: 0 };

/** Shows a message. `tone` is "good", "bad" or null. */
export function announce(text, tone = null) {
  put(visible, h("p", { class: `message ${tone ?? ""}` }, icon(tone === "bad" ? "error" : tone === "good" ? "check" : "info"), h("span", {}, text)));
}

/** Announces text to screen readers that is already visible elsewhere. */
export function announceToScreenReader(text) {
  put(spoken, text);
}

function liveRegion(name) {
  return h("div", { class: name, role: "status" });
}

/** Moves a live region into the open dialog, because everything outside a modal dialog is inert. */
function move({ region }) {
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (region.parentElement !== host) host.append(region);
  return host;
}

function put(target, content) {
  move(target).addEventListener("close", () => move(target), { once: true });
  clearTimeout(target.timer);
  target.region.replaceChildren();
  target.timer = setTimeout(() => {
    target.region.replaceChildren(content);
    target.timer = setTimeout(() => target.region.replaceChildren(), DISPLAY_MS);
  }, ANNOUNCE_DELAY_MS);
}
