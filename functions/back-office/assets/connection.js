// Whether the server answers. While it does not, a bar says so and tries again, at growing intervals and at once when
// the network is back or the user asks.

import { fill, h, icon } from "./dom.js";
import { say } from "./announce.js";
import { clock } from "./format.js";
import { Unreachable } from "./api.js";

const WAITS = [2, 4, 8, 15, 30];

export class Connection extends EventTarget {
  #probe;
  #attempt = 0;
  #timer;
  #lastAnswer = Date.now();
  #down = false;
  #text = h("p", {});
  element = h(
    "div",
    { class: "offline", role: "alert", hidden: true },
    icon("unplugged"),
    this.#text,
    h("button", { type: "button", class: "button small", onclick: () => this.#try() }, "Try now"),
  );

  /** `probe` is a call that shows whether the server answers. Tells "back" when it does again. */
  constructor(probe) {
    super();
    this.#probe = probe;
    window.addEventListener("online", () => this.#down && this.#try());
  }

  /** Hears of every call: the problem the server told, null for a success, or that there was no answer. */
  heard(error) {
    if (error instanceof Unreachable) this.#lost();
    else this.#found();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#down = false;
  }

  #lost() {
    if (!this.#down) {
      this.#down = true;
      this.#attempt = 0;
      this.element.hidden = false;
    }
    const wait = WAITS[Math.min(this.#attempt, WAITS.length - 1)];
    this.#attempt += 1;
    const what = navigator.onLine ? "The server cannot be reached." : "You are offline.";
    fill(this.#text, h("strong", {}, what), ` What you see is from ${clock(this.#lastAnswer)}. Trying again by itself.`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), wait * 1000);
  }

  #found() {
    this.#lastAnswer = Date.now();
    if (!this.#down) return;
    this.stop();
    this.element.hidden = true;
    say("Connected again", "good");
    this.dispatchEvent(new Event("back"));
  }

  #try() {
    clearTimeout(this.#timer);
    // What comes of it is heard like that of every call.
    this.#probe().catch(() => {});
  }
}
