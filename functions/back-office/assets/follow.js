// Polls the pending export until it finishes: often at first, because most exports take seconds, then less often, and not
// at all while the tab is hidden.

import { ApiError } from "./api.js";

const DELAYS_MS = [1500, 2500, 4000, 5000, 5000, 8000, 12_000, 20_000, 30_000];
/** The index in DELAYS_MS to continue from after progress. */
const STEP_AFTER_PROGRESS = 3;
/** The index in DELAYS_MS to continue from after an error response. */
const STEP_AFTER_ERROR = 5;

export class Follower {
  #api;
  #exports;
  #timer = null;
  #request = null;
  #step = 0;
  #stopped = false;

  constructor(api, exports) {
    this.#api = api;
    this.#exports = exports;
    exports.addEventListener("change", () => this.#schedule());
    document.addEventListener("visibilitychange", this.#onVisibility);
  }

  stop() {
    this.#stopped = true;
    this.#request?.abort();
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#onVisibility);
  }

  #onVisibility = () => {
    if (document.hidden) {
      clearTimeout(this.#timer);
      this.#timer = null;
    } else if (this.#exports.pending) {
      this.#step = 0;
      this.#poll();
    }
  };

  #schedule() {
    if (!this.#exports.pending) {
      clearTimeout(this.#timer);
      this.#timer = null;
      this.#step = 0;
    } else if (!this.#timer && !this.#request && !document.hidden && !this.#stopped) {
      const delay = DELAYS_MS[Math.min(this.#step, DELAYS_MS.length - 1)];
      this.#timer = setTimeout(() => this.#poll(), delay);
    }
  }

  async #poll() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const pending = this.#exports.pending;
    if (!pending || this.#request) return;
    this.#request = new AbortController();
    let item = null;
    try {
      item = await this.#api.detail(pending.exportId, this.#request.signal);
      this.#step = item.progress.rows > pending.progress.rows ? STEP_AFTER_PROGRESS : this.#step + 1;
    } catch (error) {
      // The connection bar shows that there was no response. Here only the next poll is delayed.
      this.#step = Math.max(this.#step + 1, error instanceof ApiError ? STEP_AFTER_ERROR : STEP_AFTER_PROGRESS);
    } finally {
      this.#request = null;
    }
    if (this.#stopped) return;
    if (item) this.#exports.putDetail(item);
    this.#schedule();
  }
}
