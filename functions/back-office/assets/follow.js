// Follows the pending export until it ends: often at first, because most are done in seconds, then ever more seldom, and
// not at all while nobody looks.

import { Problem } from "./api.js";

const WAITS = [1500, 2500, 4000, 5000, 5000, 8000, 12_000, 20_000, 30_000];
/** Where the waits begin again when the export has got on. */
const AFTER_PROGRESS = 3;

export class Follower {
  #api;
  #exports;
  #timer = null;
  #asking = null;
  #step = 0;
  #stopped = false;

  constructor(api, exports) {
    this.#api = api;
    this.#exports = exports;
    exports.addEventListener("change", () => this.#plan());
    document.addEventListener("visibilitychange", this.#onVisibility);
  }

  stop() {
    this.#stopped = true;
    this.#asking?.abort();
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#onVisibility);
  }

  #onVisibility = () => {
    if (document.hidden) {
      clearTimeout(this.#timer);
      this.#timer = null;
    } else if (this.#exports.pending) {
      this.#step = 0;
      this.#ask();
    }
  };

  #plan() {
    if (!this.#exports.pending) {
      clearTimeout(this.#timer);
      this.#timer = null;
      this.#step = 0;
    } else if (!this.#timer && !this.#asking && !document.hidden && !this.#stopped) {
      const wait = WAITS[Math.min(this.#step, WAITS.length - 1)];
      this.#timer = setTimeout(() => this.#ask(), wait);
    }
  }

  async #ask() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const pending = this.#exports.pending;
    if (!pending || this.#asking) return;
    this.#asking = new AbortController();
    let seen = null;
    try {
      seen = await this.#api.detail(pending.exportId, this.#asking.signal);
      this.#step = seen.progress.rows > pending.progress.rows ? AFTER_PROGRESS : this.#step + 1;
    } catch (error) {
      // The connection's bar tells of a lost server; whatever it is, the next look comes later.
      this.#step = Math.max(this.#step + 1, error instanceof Problem ? 5 : AFTER_PROGRESS);
    } finally {
      this.#asking = null;
    }
    if (this.#stopped) return;
    if (seen) this.#exports.putDetail(seen);
    this.#plan();
  }
}
