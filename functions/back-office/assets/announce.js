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

function put(place, content) {
  // Everything outside an open dialog is inert, a live region as well: it moves to where the user is.
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (place.region.parentElement !== host) host.append(place.region);
  clearTimeout(place.hiding);
  place.region.replaceChildren();
  // Later, because screen readers miss what is in a live region as soon as that is there.
  place.hiding = setTimeout(() => {
    place.region.replaceChildren(content);
    place.hiding = setTimeout(() => place.region.replaceChildren(), SHOWN_FOR);
  }, 60);
}
