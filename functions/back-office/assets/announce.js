// What the page says by itself: a short message at the bottom, which screen readers read out.

import { h, icon } from "./dom.js";

const SHOWN_FOR = 6000;

const shown = { region: liveRegion("messages"), hiding: 0 };
const heard = { region: liveRegion("unseen"), hiding: 0 };

/** Tells something that came of the user's doing or waiting. `tone` is "good", "bad" or null. */
export function say(text, tone = null) {
  put(shown, h("p", { class: `message ${tone ?? ""}` }, icon(tone === "bad" ? "fault" : tone === "good" ? "check" : "info"), h("span", {}, text)));
}

/** Tells screen readers alone what everybody else sees. */
export function whisper(text) {
  put(heard, text);
}

function liveRegion(look) {
  return h("div", { class: look, role: "status" });
}

/** Brings a region to where the user is: everything outside an open dialog is inert, a live region as well. */
function move({ region }) {
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (region.parentElement !== host) host.append(region);
  return host;
}

function put(place, content) {
  move(place).addEventListener("close", () => move(place), { once: true });
  clearTimeout(place.hiding);
  place.region.replaceChildren();
  // Later, because screen readers miss what is in a live region as soon as that is there.
  place.hiding = setTimeout(() => {
    place.region.replaceChildren(content);
    place.hiding = setTimeout(() => place.region.replaceChildren(), SHOWN_FOR);
  }, 60);
}
