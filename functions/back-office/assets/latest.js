// The card of the newest export: its status and the actions that are available now.

import { h, refill } from "./dom.js";
import { number, size, relative, rows } from "./format.js";
import { canCancel, canDownload, canRelaunch, canResend, failureTitle, isFileGone, statusOf } from "./exports.js";
import { formatName } from "./options.js";
import { action, badge, time } from "./pieces.js";

const HEADLINES = { PENDING: "In progress", READY: "Ready to download", EXPIRED: "The link has expired" };

export class Latest {
  #exports;
  #actions;
  #type;
  #body = h("div", { class: "latest-body", "aria-busy": "true" }, h("div", { class: "skeleton-line wide" }), h("div", { class: "skeleton-line" }));
  element = h("section", { class: "card latest", "aria-labelledby": "latest-title" }, h("h2", { id: "latest-title", class: "eyebrow" }, "Latest export"), this.#body);

  constructor(exports, actions, type) {
    this.#exports = exports;
    this.#type = type;
    this.#actions = actions;
  }

  /** The history shows the error. */
  fail() {
    if (this.#exports.latest) return;
    this.#body.setAttribute("aria-busy", "false");
    refill(this.#body, h("p", { class: "muted" }, "Not available at the moment."));
  }

  draw() {
    const item = this.#exports.latest;
    this.#body.setAttribute("aria-busy", "false");
    if (item) refill(this.#body, this.#text(item), this.#buttons(item));
    else refill(this.#body, h("div", { class: "latest-text" }, h("p", { class: "headline" }, "Nothing exported yet"), h("p", {}, `Export ${this.#type.plural} as a file. You will receive an e-mail with a download link when it is ready.`)));
  }

  #text(item) {
    const status = statusOf(item);
    const headline = status === "READY" && isFileGone(item) ? "The file was deleted" : HEADLINES[status] ?? failureTitle(item.failure ?? {});
    const isPending = status === "PENDING";
    const facts = [
      isPending && (item.progress.rows ? `${rows(item, item.progress.rows)} so far` : "Starting"),
      item.file && `${formatName(item)}, ${rows(item, item.file.rows)}, ${size(item.file.bytes)}`,
      canDownload(item) && `Link expires ${relative(item.linkExpiresAt)}`,
    ].filter(Boolean);
    // Short, because the layout reserves two lines. The details have all addresses.
    const { to, cc } = item.recipients;
    const recipients = cc.length ? `${to} and ${number(cc.length)} CC` : to;
    const sent = { PENDING: `, will be sent to ${recipients}`, FAILED: "" }[status] ?? `, sent to ${recipients}`;
    const people = `Requested by ${item.requestedBy.name}${sent}`;
    // Two lines on a wide screen, one fact per line on a small one: the layout reserves this height before loading.
    return h(
      "div",
      { class: "latest-text" },
      h("p", { class: "headline" }, badge(item), h("span", {}, headline)),
      h("ul", { class: "facts" }, facts.map((fact) => h("li", {}, fact)), h("li", {}, time(item.createdAt))),
      h("p", { class: "fact", title: people }, people),
      isPending && h("div", { class: "progress", role: "progressbar", "aria-label": "Export in progress" }, h("span", {})),
    );
  }

  #buttons(item) {
    const { download, downloadInvalidRows, resend, relaunch, cancel, open } = this.#actions;
    return h(
      "div",
      { class: "actions" },
      canCancel(item) && action("Cancel export", "close", () => cancel(item)),
      canDownload(item) && action(`Download ${formatName(item)}`, "download", () => download(item), "primary"),
      item.failure?.invalidRows && action("Download invalid rows", "download", () => downloadInvalidRows(item), "primary"),
      canResend(item) && !canDownload(item) && action("Resend e-mail", "mail", () => resend(item)),
      canRelaunch(item) && !canResend(item) && action("Relaunch", "relaunch", () => relaunch(item)),
      action("Details", "right", () => open(item.exportId), "trailing"),
    );
  }
}
