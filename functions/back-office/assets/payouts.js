// The page of the marketplace payouts: what is exported, and what can be done about it.

import { fill, h, icon, refill } from "./dom.js";
import { say } from "./announce.js";
import { explain } from "./api.js";
import { Details } from "./details.js";
import * as dialogs from "./dialogs.js";
import { Exports, GONE_ADVICE, failureTitle, isFileGone } from "./exports.js";
import * as filters from "./filters.js";
import { Follower } from "./follow.js";
import { payouts } from "./format.js";
import { History } from "./history.js";
import { Latest } from "./latest.js";
import { excelHelp, recipientsText } from "./pieces.js";

const TITLE = "Marketplace Payouts · Back Office";
/** What was loaded longer ago is loaded again when the user comes back to the tab. */
const STALE = 60_000;

export class PayoutsPage {
  #api;
  #caller;
  #exports = new Exports();
  #follower;
  #history;
  #latest;
  #details;
  #launch = h("button", { type: "button", class: "button primary", onclick: () => this.#onLaunch() });

  constructor(api, caller) {
    this.#api = api;
    this.#caller = caller;
    const actions = {
      open: (id) => this.#open(id),
      download: (item) => this.#download(item),
      resend: (item) => this.#resend(item),
      relaunch: (item) => this.#relaunch(item),
    };
    this.#latest = new Latest(this.#exports, actions);
    this.#history = new History(api, this.#exports, actions);
    this.#details = new Details({ api, exports: this.#exports, actions, onClose: () => this.#onDetailsClosed() });
    this.#follower = new Follower(api, this.#exports);
    this.#exports.addEventListener("change", ({ detail }) => detail === this.#exports.latest && this.#draw());
    this.#exports.addEventListener("end", ({ detail }) => this.#onEnd(detail));
    window.addEventListener("popstate", this.#onAddress);
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.element = h(
      "main",
      { id: "main", tabindex: "-1" },
      h(
        "header",
        { class: "page-head" },
        h("div", {}, h("p", { class: "path" }, "DJUST Pay"), h("h1", {}, "Marketplace Payouts"), h("p", { class: "muted" }, "The commissions that your marketplace earned, as a CSV file for reconciliation and reporting.")),
        this.#launch,
      ),
      this.#latest.element,
      this.#history.element,
      h("footer", { class: "page-foot" }, excelHelp()),
    );
    this.#drawLaunch();
  }

  /** Loads what the address asks for. */
  async start() {
    const { open } = filters.read();
    if (open) this.#details.open(open);
    await Promise.all([this.#history.load(), this.#loadLatest()]);
  }

  /** Loads again after a time without the server. */
  refresh() {
    this.#history.refresh();
    this.#loadLatest();
  }

  stop() {
    this.#follower.stop();
    this.#history.stop();
    window.removeEventListener("popstate", this.#onAddress);
    document.removeEventListener("visibilitychange", this.#onVisibility);
    document.title = TITLE;
  }

  // -------------------------------------------------------------------------------------------------------- loading

  /** The newest export may be outside of the view; and only that one can be pending. */
  async #loadLatest() {
    try {
      const { content } = await this.#api.list({ size: 1 });
      if (content.length) this.#exports.put(content[0]);
      else this.#latest.draw();
    } catch {
      // The history, which is loaded at the same time, tells what is wrong.
      this.#latest.fail();
    }
  }

  #draw() {
    this.#latest.draw();
    this.#drawLaunch();
  }

  #drawLaunch() {
    const pending = this.#exports.pending;
    this.#launch.classList.toggle("primary", !pending);
    const look = pending ? [icon("clock"), h("span", {}, "Export pending: show it")] : [icon("plus"), h("span", {}, "Export CSV")];
    if (this.#launch.textContent !== look[1].textContent) refill(this.#launch, look);
  }

  #onEnd(item) {
    const isReady = item.status === "READY";
    if (isReady) say(`Export ready: ${payouts(item.file.rows)}. Sent to ${recipientsText(item.recipients)}.`, "good");
    else say(`Export failed: ${failureTitle(item.failure ?? {})}. See its details for what to do.`, "bad");
    // Whoever waits in another tab sees it there.
    if (document.hidden) document.title = `${isReady ? "Ready" : "Failed"}: ${TITLE}`;
  }

  #onVisibility = () => {
    if (document.hidden) return;
    document.title = TITLE;
    this.#history.refresh(STALE);
  };

  // -------------------------------------------------------------------------------------------------------- actions

  #onLaunch() {
    const pending = this.#exports.pending;
    if (pending) this.#open(pending.exportId);
    else this.#ask([]);
  }

  #resend(item) {
    dialogs.resend({
      api: this.#api,
      caller: this.#caller,
      item,
      onSent: (sent) => this.#exports.putResent(sent),
      onGone: () => this.#exports.loseFile(item.exportId),
      onRelaunch: () => this.#relaunch(item),
    });
  }

  #relaunch(item) {
    const pending = this.#exports.pending;
    if (pending) {
      say("An export is pending already: only one can be at a time.");
      this.#open(pending.exportId);
    } else {
      this.#ask(item.recipients.cc);
    }
  }

  #ask(cc) {
    dialogs.launch({
      api: this.#api,
      caller: this.#caller,
      cc,
      onLaunched: (item) => {
        this.#exports.put(item);
        if (this.#details.openId) this.#open(item.exportId);
        if (this.#history.isFirstPage) this.#history.load();
      },
      onPending: (id) => {
        this.#loadLatest();
        this.#open(id);
      },
    });
  }

  async #download({ exportId }) {
    try {
      const item = await this.#api.detail(exportId);
      this.#exports.putDetail(item);
      if (isFileGone(this.#exports.get(exportId))) {
        say(`The file was deleted. ${GONE_ADVICE}`, "bad");
        return;
      }
      const url = item.downloadUrl && new URL(item.downloadUrl);
      if (!url || !["https:", "http:"].includes(url.protocol)) {
        say("The download link has just expired. Send the e-mail again to get a new one.", "bad");
        return;
      }
      // The file says itself that it is to be saved, so the page stays where it is.
      h("a", { href: url.href, download: "" }).click();
      say(`Downloading ${item.file.name}`, "good");
    } catch (error) {
      say(explain(error), "bad");
    }
  }

  // -------------------------------------------------------------------------------------------------------- details

  #open(id) {
    filters.change({ open: id });
    this.#details.open(id);
  }

  #onDetailsClosed() {
    filters.change({ open: null });
  }

  #onAddress = () => {
    const { open } = filters.read();
    if (open) this.#details.open(open);
    else this.#details.close();
    this.#history.follow();
  };
}
