// The page of an export type.

import { h, icon, refill } from "./dom.js";
import { announce } from "./announce.js";
import { errorText } from "./api.js";
import { Details } from "./details.js";
import { cancelDialog, launchDialog, resendDialog } from "./dialogs.js";
import { Exports, GONE_ADVICE, failureTitle, isFileGone } from "./exports.js";
import { Follower } from "./follow.js";
import { pageTitle, rows } from "./format.js";
import { History } from "./history.js";
import { Latest } from "./latest.js";
import { csvHelp, recipientsText } from "./pieces.js";
import { changeView, readView } from "./view.js";

/** Older data is reloaded, to learn of the exports of other users: while the tab is visible, and on return to it. */
const MAX_AGE_MS = 60_000;

export class ExportsPage {
  #api;
  #caller;
  #type;
  #title;
  #exports = new Exports();
  #follower;
  #history;
  #latest;
  #details;
  #refreshTimer;
  #launch = h("button", { type: "button", class: "button primary", onclick: () => this.#onLaunch() });

  constructor(api, caller, type) {
    this.#api = api;
    this.#caller = caller;
    this.#type = type;
    this.#title = `${pageTitle(type)} · Back Office`;
    document.title = this.#title;
    const actions = {
      open: (id) => this.#open(id),
      download: (item) => this.#download(item),
      downloadInvalidRows: (item) => this.#downloadInvalidRows(item),
      resend: (item) => this.#resend(item),
      relaunch: (item) => this.#relaunch(item),
      cancel: (item) => cancelDialog({ api, exports: this.#exports, item }),
    };
    this.#latest = new Latest(this.#exports, actions, type);
    this.#history = new History(api, this.#exports, actions);
    this.#details = new Details({ api, exports: this.#exports, actions, onClose: () => this.#onDetailsClosed() });
    this.#follower = new Follower(api, this.#exports);
    this.#exports.addEventListener("change", ({ detail }) => detail === this.#exports.latest && this.#draw());
    this.#exports.addEventListener("end", ({ detail }) => this.#onEnd(detail));
    window.addEventListener("popstate", this.#onPopState);
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.#refreshTimer = setInterval(() => document.hidden || this.refresh(), MAX_AGE_MS);
    this.element = h(
      "main",
      { id: "main", tabindex: "-1" },
      h(
        "header",
        { class: "page-head" },
        h("div", {}, h("p", { class: "path" }, "DJUST Pay"), h("h1", {}, pageTitle(type)), h("p", { class: "muted" }, `Export ${type.plural} as a file for reconciliation and reporting.`)),
        this.#launch,
      ),
      this.#latest.element,
      this.#history.element,
      h("footer", { class: "page-foot" }, csvHelp()),
    );
    this.#drawLaunch();
  }

  async start() {
    const { open } = readView();
    if (open) this.#details.open(open);
    await Promise.all([this.#history.load(), this.#loadLatest()]);
  }

  refresh() {
    this.#history.refresh();
    this.#loadLatest();
  }

  stop() {
    this.#follower.stop();
    this.#history.stop();
    clearInterval(this.#refreshTimer);
    window.removeEventListener("popstate", this.#onPopState);
    document.removeEventListener("visibilitychange", this.#onVisibility);
    document.title = this.#title;
  }

  // -------------------------------------------------------------------------------------------------------- loading

  /** Loaded separately, because the filters may exclude the newest export. Only that one can be pending. */
  async #loadLatest() {
    try {
      const { content } = await this.#api.list({ size: 1 });
      if (content.length) this.#exports.put(content[0]);
      else this.#latest.draw();
    } catch {
      // The history is loaded at the same time and shows the error.
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
    const look = pending ? [icon("clock"), h("span", {}, "Show pending export")] : [icon("plus"), h("span", {}, "Export CSV")];
    if (this.#launch.textContent !== look[1].textContent) refill(this.#launch, look);
  }

  #onEnd(item) {
    const isReady = item.status === "READY";
    if (isReady) announce(`Export ready: ${rows(item, item.file.rows)}. Sent to ${recipientsText(item.recipients)}.`, "good");
    else if (item.failure?.cancelledBy) announce(`Export cancelled by ${item.failure.cancelledBy.name}.`);
    else announce(`Export failed: ${failureTitle(item.failure ?? {})}. See its details for what to do.`, "bad");
    // Visible to a user who is waiting in another tab.
    if (document.hidden) document.title = `${isReady ? "Ready" : "Failed"}: ${this.#title}`;
  }

  #onVisibility = () => {
    if (document.hidden) return;
    document.title = this.#title;
    if (this.#history.age > MAX_AGE_MS) this.refresh();
  };

  // -------------------------------------------------------------------------------------------------------- actions

  #onLaunch() {
    const pending = this.#exports.pending;
    if (pending) this.#open(pending.exportId);
    else this.#openLaunchDialog(null);
  }

  #resend(item) {
    resendDialog({
      api: this.#api,
      caller: this.#caller,
      item,
      onSent: (sent) => this.#exports.putResent(sent),
      onGone: () => this.#exports.markFileDeleted(item.exportId),
      onRelaunch: () => this.#relaunch(item),
    });
  }

  #relaunch(item) {
    const pending = this.#exports.pending;
    if (pending) {
      announce("An export is already pending. Only one export of a type can be pending at a time.");
      this.#open(pending.exportId);
    } else {
      this.#openLaunchDialog(item);
    }
  }

  #openLaunchDialog(item) {
    launchDialog({
      api: this.#api,
      caller: this.#caller,
      type: this.#type,
      exports: this.#exports,
      item,
      onLaunched: (launched) => {
        this.#exports.put(launched);
        if (this.#details.openId) this.#open(launched.exportId);
        if (this.#history.isFirstPage) this.#history.load();
      },
      onPending: (id) => this.#loadPending(id),
      open: (id) => this.#open(id),
    });
  }

  /** Loads the pending export that another user launched. Then it is followed. */
  async #loadPending(id) {
    try {
      this.#exports.putDetail(await this.#api.detail(id));
    } catch {
      // The connection bar shows that there was no response.
    }
    if (this.#history.isFirstPage) this.#history.load();
  }

  async #download({ exportId }) {
    try {
      const item = await this.#api.detail(exportId);
      this.#exports.putDetail(item);
      if (isFileGone(this.#exports.get(exportId))) {
        announce(`The file was deleted. ${GONE_ADVICE}`, "bad");
        return;
      }
      if (save(item.downloadUrl)) announce(`Downloading ${item.file.name}`, "good");
      else announce("The download link has just expired. Resend the e-mail to get a new one.", "bad");
    } catch (error) {
      announce(errorText(error), "bad");
    }
  }

  async #downloadInvalidRows({ exportId }) {
    try {
      const item = await this.#api.detail(exportId);
      this.#exports.putDetail(item);
      if (save(item.failure?.invalidRows?.downloadUrl)) announce("Downloading the invalid rows", "good");
      else announce("The file of invalid rows was deleted. Relaunch the export to get a new one.", "bad");
    } catch (error) {
      announce(errorText(error), "bad");
    }
  }

  // -------------------------------------------------------------------------------------------------------- details

  #open(id) {
    changeView({ open: id });
    this.#details.open(id);
  }

  #onDetailsClosed() {
    changeView({ open: null });
  }

  #onPopState = () => {
    const { open } = readView();
    if (open) this.#details.open(open);
    else this.#details.close();
    this.#history.applyUrl();
  };
}

/** Starts a download, unless there is no link. The response is sent as an attachment, so the page stays open. */
function save(link) {
  const url = link && new URL(link);
  if (!url || !["https:", "http:"].includes(url.protocol)) return false;
  h("a", { href: url.href, download: "" }).click();
  return true;
}
