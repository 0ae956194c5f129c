// The newest export, always in the same place: where it stands, and what can be done with it now.

import { h, refill } from "./dom.js";
import { size, payouts, relative } from "./format.js";
import { canDownload, canRelaunch, canResend, failureTitle, statusOf } from "./exports.js";
import { action, badge, recipientsText, time } from "./pieces.js";

const HEADLINES = { PENDING: "In progress", READY: "Ready to download", EXPIRED: "The link has expired" };

export class Latest {
  #exports;
  #actions;
  #body = h("div", { class: "latest-body", "aria-busy": "true" }, h("div", { class: "bone wide" }), h("div", { class: "bone" }));
  element = h("section", { class: "card latest", "aria-labelledby": "latest-title" }, h("h2", { id: "latest-title", class: "eyebrow" }, "Latest export"), this.#body);

  constructor(exports, actions) {
    this.#exports = exports;
    this.#actions = actions;
  }

  draw() {
    const item = this.#exports.latest;
    this.#body.setAttribute("aria-busy", "false");
    if (item) refill(this.#body, this.#words(item), this.#buttons(item));
    else refill(this.#body, h("div", { class: "latest-words" }, h("p", { class: "headline" }, "Nothing exported yet"), h("p", { class: "muted" }, "Export the marketplace payouts as a CSV file. You get an e-mail with the link when it is ready.")));
  }

  #words(item) {
    const status = statusOf(item);
    const headline = HEADLINES[status] ?? failureTitle(item.failure ?? {});
    const facts = [];
    if (status === "PENDING") facts.push(item.progress.rows ? `${payouts(item.progress.rows)} so far` : "Starting", `Will be sent to ${recipientsText(item.recipients)}`);
    if (item.file) facts.push(`${payouts(item.file.rows)}, ${size(item.file.bytes)}`);
    if (status === "READY") facts.push(`Link expires ${relative(item.linkExpiresAt)}`, `Sent to ${recipientsText(item.recipients)}`);
    return h(
      "div",
      { class: "latest-words" },
      h("p", { class: "headline" }, badge(item), h("span", {}, headline)),
      status === "PENDING" && h("div", { class: "progress", role: "progressbar", "aria-label": "Export in progress" }, h("span", {})),
      h("ul", { class: "facts muted" }, facts.map((fact) => h("li", {}, fact)), h("li", {}, "Requested by ", item.requestedBy.name, ", ", time(item.createdAt))),
    );
  }

  #buttons(item) {
    const { download, resend, relaunch, open } = this.#actions;
    return h(
      "div",
      { class: "actions" },
      canDownload(item) && action("Download CSV", "download", () => download(item), "primary"),
      canResend(item) && !canDownload(item) && action("Resend e-mail", "mail", () => resend(item)),
      canRelaunch(item) && action("Relaunch", "relaunch", () => relaunch(item)),
      action("Details", "right", () => open(item.exportId), "trailing"),
    );
  }
}
