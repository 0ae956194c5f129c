// Shows a bar while the service does not respond. Retries at growing intervals, and at once when the network is back or
// the user asks.

import { fill, h, icon } from "./dom.js";
import { announce } from "./announce.js";
import { clock } from "./format.js";
import { NetworkError } from "./api.js";

const DELAYS_SECONDS = [2, 4, 8, 15, 30];

export class Connection extends EventTarget {
  #probe;
  #attempt = 0;
  #timer;
  #lastResponse = Date.now();
  #isDown = false;
  #text = h("p", {});
  element = h(
    "div",
    { class: "offline", role: "alert", hidden: true },
    icon("unplugged"),
    this.#text,
    h("button", { type: "button", class: "button small", onclick: () => this.#retry() }, "Try now"),
  );

  /** `probe` calls the API. Emits "restored" when the service responds again. */
  constructor(probe) {
    super();
    this.#probe = probe;
    window.addEventListener("online", () => this.#isDown && this.#retry());
  }

  /** Records the result of a call: its error, or null. */
  record(error) {
    if (error instanceof NetworkError) this.#onNoResponse();
    else this.#onResponse();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#isDown = false;
  }

  #onNoResponse() {
    if (!this.#isDown) {
      this.#isDown = true;
      this.#attempt = 0;
      this.element.hidden = false;
    }
    const delay = DELAYS_SECONDS[Math.min(this.#attempt, DELAYS_SECONDS.length - 1)];
    this.#attempt += 1;
    const headline = navigator.onLine ? "The service is not responding." : "You are offline.";
    fill(this.#text, h("strong", {}, headline), ` Showing data from ${clock(this.#lastResponse)}. Trying again in ${delay} s.`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#retry(), delay * 1000);
  }

  #onResponse() {
    this.#lastResponse = Date.now();
    if (!this.#isDown) return;
    this.stop();
    this.element.hidden = true;
    announce("Connection restored", "good");
    this.dispatchEvent(new Event("restored"));
  }

  #retry() {
    clearTimeout(this.#timer);
    // Its result is recorded like that of every call.
    this.#probe().catch(() => {});
  }
}
