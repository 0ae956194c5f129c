// The details panel of an export.

import { fill, h, icon, refill } from "./dom.js";
import { ApiError, errorText } from "./api.js";
import { GONE_ADVICE, canCancel, canDownload, canRelaunch, canResend, failureAdvice, failureTitle, isFileGone, statusOf } from "./exports.js";
import { amount, instant, number, relative, rowStatus, rows, rowsLabel, shortId, size, sum } from "./format.js";
import { conditions, formatName, periodText } from "./options.js";
import { action, allRecipients, badge, copy, copyButton, csvHelp, notice, recipientsText, time } from "./pieces.js";
import { heading, show } from "./dialogs.js";

export class Details {
  #api;
  #exports;
  #actions;
  #id;
  #dialog = null;
  #loading = null;
  #parts = null;

  constructor({ api, exports, actions, onClose }) {
    this.#api = api;
    this.#exports = exports;
    this.#actions = actions;
    this.onClose = onClose;
    exports.addEventListener("change", ({ detail }) => this.#dialog && detail.exportId === this.#id && this.#draw());
  }

  get openId() {
    return this.#dialog ? this.#id : null;
  }

  open(id) {
    if (this.openId === id) return;
    this.#id = id;
    if (!this.#dialog) this.#make();
    fill(this.#parts.id, h("code", {}, id), copyButton(id, "export ID"));
    fill(this.#parts.error);
    for (const name of ["state", "facts", "file", "totals"]) fill(this.#parts[name]);
    this.#parts.help.hidden = true;
    if (this.#exports.get(id)) this.#draw();
    this.#load();
  }

  close() {
    this.#dialog?.close();
  }

  #make() {
    const dialog = h("dialog", { class: "drawer" });
    const part = (name) => h("div", { class: `part ${name}` });
    this.#parts = { id: h("p", { class: "full-id" }), error: part("error"), state: part("state-part"), facts: part("facts"), file: part("file"), totals: part("totals"), help: csvHelp() };
    const { id, error, state, facts, file, totals, help } = this.#parts;
    dialog.append(heading(dialog, "Export details", id), h("div", { class: "dialog-body" }, error, state, facts, file, totals, help));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      this.#dialog = null;
      this.#loading?.abort();
      this.onClose();
    });
    this.#dialog = dialog;
    show(dialog);
    dialog.querySelector("h2").focus();
  }

  async #load() {
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    this.#dialog.setAttribute("aria-busy", "true");
    try {
      const item = await this.#api.detail(this.#id, loading.signal);
      this.#exports.putDetail(item);
    } catch (error) {
      if (loading.signal.aborted) return;
      const isMissing = error instanceof ApiError && error.status === 404;
      const text = isMissing ? `Your tenant has no export ${shortId(this.#id)}. The link may belong to another tenant.` : errorText(error);
      fill(this.#parts.error, notice("bad", "error", h("p", {}, text), !isMissing && h("button", { type: "button", class: "button small", onclick: () => this.#retry() }, "Try again")));
    }
    this.#dialog?.setAttribute("aria-busy", "false");
  }

  #retry() {
    fill(this.#parts.error);
    this.#load();
  }

  #draw() {
    const item = this.#exports.get(this.#id);
    const { state, facts, file, totals, help } = this.#parts;
    refill(state, this.#state(item), this.#buttons(item));
    fill(facts, factsOf(item));
    refill(file, item.file && fileOf(item));
    fill(totals, item.file?.totals.length ? totalsOf(item) : null);
    help.hidden = !item.file || item.format !== "CSV";
  }

  #state(item) {
    const status = statusOf(item);
    if (status === "PENDING") {
      const count = item.progress.rows;
      return notice("waiting", "clock", h("p", {}, h("strong", {}, count ? `${rows(item, count)} so far.` : "The export is starting."), " You will receive an e-mail when it is finished. You can close this page."), h("div", { class: "progress", role: "progressbar", "aria-label": "Export in progress" }, h("span", {})));
    }
    if (status === "READY" && canDownload(item)) {
      return notice("good", "check", h("p", {}, h("strong", {}, "The file is ready."), ` Sent to ${recipientsText(item.recipients)}. The link expires ${relative(item.linkExpiresAt)}.`));
    }
    if (status === "FAILED") {
      const failure = item.failure ?? {};
      return notice("bad", "error", h("p", {}, h("strong", {}, `${failureTitle(failure)}. `), !failure.cancelledBy && failure.message), h("p", {}, h("strong", {}, "What to do: "), failureAdvice(item)));
    }
    const gone = isFileGone(item);
    return notice("neutral", "hourglass", h("p", {}, h("strong", {}, gone ? "The file was deleted." : "The download link has expired."), gone ? ` ${GONE_ADVICE}` : " Resend the e-mail to get a new link to the same file, or relaunch the export to get a new file."));
  }

  #buttons(item) {
    const { download, downloadInvalidRows, resend, relaunch, cancel } = this.#actions;
    const isReady = canDownload(item);
    const hasInvalidRows = Boolean(item.failure?.invalidRows);
    const buttons = [
      canCancel(item) && action("Cancel export", "close", () => cancel(item)),
      isReady && action(`Download ${formatName(item)}`, "download", () => download(item), "primary"),
      hasInvalidRows && action("Download invalid rows", "download", () => downloadInvalidRows(item), "primary"),
      canResend(item) && action("Resend e-mail", "mail", () => resend(item), isReady ? "" : "primary"),
      canRelaunch(item) && action("Relaunch", "relaunch", () => relaunch(item), canResend(item) || hasInvalidRows ? "" : "primary"),
    ].filter(Boolean);
    return buttons.length ? h("div", { class: "actions" }, buttons) : null;
  }
}

function facts(pairs) {
  return h("dl", {}, pairs.filter(Boolean).map(([name, ...value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const copyable = (address) => h("span", { class: "copyable" }, h("span", {}, address), copyButton(address, "address"));

function factsOf(item) {
  const { to, cc } = item.recipients;
  const { name, email } = item.requestedBy;
  return [
    h("h3", {}, "Export"),
    facts([
      ["Status", badge(item)],
      ["Requested by", name, h("span", { class: "remark" }, email)],
      ["Created at", time(item.createdAt), h("span", { class: "remark" }, relative(item.createdAt))],
      ["Format", formatName(item)],
      [`${rowsLabel(item)} created`, periodText(item), item.file && h("span", { class: "remark" }, asRead(item.file))],
      conditions(item).length > 0 && ["Filters", h("ul", {}, conditions(item).map(([label, values]) => h("li", {}, `${label}: ${values.join(", ")}`)))],
      item.linkExpiresAt && !item.isFileDeleted && [statusOf(item) === "READY" ? "Link expires" : "Link expired", time(item.linkExpiresAt), h("span", { class: "remark" }, relative(item.linkExpiresAt))],
      ["To", copyable(to)],
      cc.length > 0 && [
        `CC (${cc.length})`,
        h("ul", {}, cc.map((address) => h("li", {}, copyable(address)))),
        action("Copy all recipients", "copy", () => copy(allRecipients(item.recipients), "recipients"), "small"),
      ],
      item.failure && ["Failure", h("code", {}, item.failure.code)],
      item.failure?.cancelledBy && ["Cancelled by", item.failure.cancelledBy.name, h("span", { class: "remark" }, item.failure.cancelledBy.email)],
    ]),
  ];
}

/** Of when the content is, unless an earlier version of the service wrote the file. */
function asRead({ readFrom, readTo }) {
  const when = readFrom ? `as read between ${instant(readFrom)} and ${instant(readTo)}` : "are those found while the file was made";
  return `Amounts and statuses ${when}.`;
}

function fileOf({ file, isFileDeleted }) {
  return [
    h("h3", {}, "File"),
    facts([
      ["Name", file.name],
      ["Rows", number(file.rows)],
      ["Size", size(file.bytes)],
      ["SHA-256", h("code", { class: "hash" }, file.sha256), copyButton(file.sha256, "SHA-256")],
      !isFileDeleted && [Date.parse(file.expiresAt) > Date.now() ? "Kept until" : "Was kept until", time(file.expiresAt)],
    ]),
  ];
}

/** Totals by currency and status. A bar shows each status's share of the currency's rows. */
function totalsOf(item) {
  const currencies = Map.groupBy(item.file.totals, ({ currency }) => currency);
  const groups = [...currencies].map(([currency, totals]) => {
    const all = totals.reduce((count, total) => count + total.count, 0);
    return h(
      "tbody",
      {},
      h("tr", { class: "currency" }, h("th", { scope: "rowgroup" }, currency), h("td", {}, number(all)), h("td", {}, amount(sum(totals.map((total) => total.amount))))),
      totals.map((total) => {
        const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("span", {}));
        bar.firstChild.style.inlineSize = `${Math.max(1, (100 * total.count) / all)}%`;
        return h("tr", {}, h("th", { scope: "row" }, rowStatus(total.status), bar), h("td", {}, number(total.count)), h("td", {}, amount(total.amount)));
      }),
    );
  });
  return [
    h("h3", { id: "totals-title" }, "Totals"),
    h(
      "table",
      { class: "totals-table", "aria-labelledby": "totals-title" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Currency, status"), h("th", { scope: "col" }, rowsLabel(item)), h("th", { scope: "col" }, "Amount"))),
      groups,
    ),
  ];
}
