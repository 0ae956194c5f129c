// The export history: filters, sort order, pages, and one row per export that is updated as the export changes.

import { fill, uniqueId, h, icon, refill } from "./dom.js";
import { announceToScreenReader } from "./announce.js";
import { errorText } from "./api.js";
import { canDownload, canResend, STATUSES, statusOf } from "./exports.js";
import { number, relative, shortId } from "./format.js";
import { optionsText } from "./options.js";
import { action, allRecipients, badge, copyButton, remark, time } from "./pieces.js";
import { PAGE_SIZES, changeView, exportAddress, isFiltered, readView, viewQuery } from "./view.js";

const UPDATE_INTERVAL_MS = 30_000;
/** The CC recipients of a row that are always shown. */
const SHOWN_CC = 2;
/** How many empty pages to skip before asking the user whether to continue. */
const MAX_EMPTY_PAGES = 5;
const SKELETON_ROWS = 6;

export class History {
  #api;
  #exports;
  #actions;
  #view = readView();
  /** The cursor of each page and the number of exports before it. */
  #pages = [{ cursor: null, before: 0 }];
  #page = 0;
  #items = [];
  #next = null;
  #rows = new Map();
  #loading = null;
  #loadedAt = 0;
  #updateTimer;

  #statuses = Object.entries(STATUSES).map(([status, { label, icon: iconName }]) => {
    const box = h("input", { type: "checkbox", value: status, class: "visually-hidden", onchange: () => this.#filter() });
    return { box, pill: h("label", { class: `pill ${status.toLowerCase()}` }, box, icon(iconName), label) };
  });
  #from = h("input", { type: "date", id: uniqueId("from"), onchange: () => this.#filter() });
  #to = h("input", { type: "date", id: uniqueId("to"), onchange: () => this.#filter() });
  #dateError = h("p", { class: "date-error", role: "alert", id: uniqueId("date-error") });
  #search = h("input", { type: "search", id: uniqueId("search"), autocomplete: "off", spellcheck: "false", placeholder: `${this.#view.type.idPrefix}_…`, oninput: () => this.#showSearchError("") });
  #searchError = h("p", { class: "date-error", role: "alert", id: uniqueId("search-error") });
  #clear = h("button", { type: "button", class: "button quiet small", onclick: () => this.#clearFilters() }, "Clear filters");
  #sort = h("button", { type: "button", class: "sort", onclick: () => this.#toggleSort() });
  #createdAt = h("th", { scope: "col", role: "columnheader" }, this.#sort);
  #body = h("tbody", { role: "rowgroup" });
  #table = h(
    "table",
    { class: "exports", role: "table", "aria-label": "Export history" },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        h("th", { scope: "col", role: "columnheader", class: "col-id" }, "Export ID"),
        h("th", { scope: "col", role: "columnheader" }, "Recipients"),
        this.#createdAt,
        h("th", { scope: "col", role: "columnheader" }, "Status"),
        h("th", { scope: "col", role: "columnheader" }, h("span", { class: "visually-hidden" }, "Actions")),
      ),
    ),
    this.#body,
  );
  #state = h("div", { class: "state" });
  #range = h("p", { class: "range" });
  #newer = h("button", { type: "button", class: "button small", onclick: () => this.#goTo(this.#page - 1) }, icon("left"), h("span", {}, "Previous"));
  #older = h("button", { type: "button", class: "button small trailing", onclick: () => this.#goTo(this.#page + 1) }, icon("right"), h("span", {}, "Next"));
  #size = h(
    "select",
    { id: uniqueId("size"), onchange: () => this.#set({ size: Number(this.#size.value) }) },
    PAGE_SIZES.map((size) => h("option", { value: size }, size)),
  );
  #pager = h(
    "nav",
    { class: "pager", "aria-label": "Pages of the export history", hidden: true },
    h("label", { class: "muted", for: this.#size.id }, "Rows per page"),
    this.#size,
    this.#range,
    this.#newer,
    this.#older,
  );

  element = h(
    "section",
    { class: "card history", "aria-labelledby": "history-title" },
    h(
      "div",
      { class: "history-head" },
      h("h2", { id: "history-title", tabindex: "-1" }, "Export history"),
      h("form", { class: "search", role: "search", "aria-label": "Find an export", onsubmit: (event) => this.#find(event) }, h("label", { for: this.#search.id }, "Export ID"), this.#search, h("button", { type: "submit", class: "button small" }, "Find")),
      action("Refresh", "relaunch", () => this.load(this.#page), "quiet small"),
      this.#searchError,
    ),
    h(
      "form",
      { class: "filters", role: "search", "aria-label": "Filter the export history", onsubmit: (event) => event.preventDefault() },
      h("fieldset", {}, h("legend", {}, "Status"), h("div", { class: "pills" }, this.#statuses.map(({ pill }) => pill))),
      h("div", { class: "dates" }, h("div", {}, h("label", { for: this.#from.id }, "From"), this.#from), h("div", {}, h("label", { for: this.#to.id }, "To"), this.#to)),
      this.#clear,
      this.#dateError,
    ),
    this.#table,
    this.#state,
    this.#pager,
  );

  constructor(api, exports, actions) {
    this.#api = api;
    this.#exports = exports;
    this.#actions = actions;
    exports.addEventListener("change", ({ detail }) => this.#rows.get(detail.exportId)?.update(detail));
    // Relative times change and links expire without a new response.
    this.#updateTimer = setInterval(() => {
      if (!document.hidden) for (const row of this.#rows.values()) row.update(this.#exports.get(row.id));
    }, UPDATE_INTERVAL_MS);
    this.#drawControls();
    fill(this.#body, Array.from({ length: SKELETON_ROWS }, skeletonRow));
  }

  stop() {
    clearInterval(this.#updateTimer);
    this.#loading?.abort();
  }

  get isFirstPage() {
    return this.#page === 0;
  }

  /** Applies the view in the URL after the browser's Back or Forward button. */
  applyUrl() {
    const before = JSON.stringify(viewQuery(this.#view));
    this.#view = readView();
    this.#drawControls();
    if (JSON.stringify(viewQuery(this.#view)) !== before) this.#restart();
  }

  /** How old the data is, in milliseconds. */
  get age() {
    return Date.now() - this.#loadedAt;
  }

  /** Reloads the page that is shown, without announcing it. */
  refresh() {
    return this.load(this.#page, true);
  }

  async load(page = 0, isQuiet = false) {
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    this.#table.setAttribute("aria-busy", "true");
    const query = viewQuery(this.#view);
    let { cursor } = this.#pages[page];
    let items = [];
    try {
      for (let read = 0; read < MAX_EMPTY_PAGES && !items.length && cursor !== undefined; read += 1) {
        const response = await this.#api.list({ ...query, cursor }, loading.signal);
        items = response.content;
        cursor = response.nextCursor ?? undefined;
      }
    } catch (error) {
      if (loading.signal.aborted) return;
      this.#table.setAttribute("aria-busy", "false");
      this.#drawError(error, page, isQuiet);
      return;
    }
    if (loading.signal.aborted) return;
    this.#table.setAttribute("aria-busy", "false");
    this.#loadedAt = Date.now();
    this.#page = page;
    this.#next = cursor ?? null;
    this.#pages.length = page + 1;
    if (this.#next) this.#pages.push({ cursor: this.#next, before: this.#pages[page].before + items.length });
    this.#items = items;
    for (const item of items) this.#exports.put(item);
    this.#draw(isQuiet);
  }

  // ------------------------------------------------------------------------------------------------------- controls

  /** Opens the export with the ID that the user has entered, in the section of its type. */
  #find(event) {
    event.preventDefault();
    const id = this.#search.value.trim();
    const address = exportAddress(id);
    if (!id) this.#search.focus();
    else if (!address) this.#showSearchError("This is not an export ID. Copy the whole ID from an e-mail or a history.");
    else if (address.isHere) this.#actions.open(id);
    else location.assign(address.href);
  }

  #showSearchError(text) {
    this.#searchError.textContent = text;
    if (text) this.#search.setAttribute("aria-invalid", "true");
    else this.#search.removeAttribute("aria-invalid");
    if (text) this.#search.focus();
  }

  #filter() {
    const [from, to] = [this.#from.value, this.#to.value];
    const isReversed = from && to && from > to;
    this.#dateError.textContent = isReversed ? "The start date is after the end date." : "";
    for (const input of [this.#from, this.#to]) {
      if (isReversed) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    if (isReversed) return;
    this.#set({ statuses: this.#statuses.map(({ box }) => box).filter((box) => box.checked).map((box) => box.value), from, to });
  }

  #clearFilters() {
    this.#dateError.textContent = "";
    this.#set({ statuses: [], from: "", to: "" });
    this.#statuses[0].box.focus();
  }

  #toggleSort() {
    this.#set({ sort: this.#view.sort === "createdAt:desc" ? "createdAt:asc" : "createdAt:desc" });
  }

  #set(changes) {
    changeView(changes);
    this.#view = readView();
    this.#drawControls();
    this.#restart();
  }

  #restart() {
    this.#pages = [{ cursor: null, before: 0 }];
    this.load(0);
  }

  async #goTo(page) {
    await this.load(page);
    // The clicked button may be disabled now, and the new rows start above it.
    const title = this.element.querySelector("#history-title");
    title.focus({ preventScroll: true });
    title.scrollIntoView({ block: "nearest" });
  }

  #drawControls() {
    const { statuses, from, to, sort, size } = this.#view;
    for (const { box } of this.#statuses) box.checked = statuses.includes(box.value);
    if (this.#from.value !== from) this.#from.value = from;
    if (this.#to.value !== to) this.#to.value = to;
    this.#size.value = size;
    this.#clear.classList.toggle("invisible", !isFiltered(this.#view));
    const isNewestFirst = sort === "createdAt:desc";
    this.#createdAt.setAttribute("aria-sort", isNewestFirst ? "descending" : "ascending");
    refill(this.#sort, "Created at", icon(isNewestFirst ? "down" : "up"));
    this.#sort.title = isNewestFirst ? "Newest first. Click for oldest first" : "Oldest first. Click for newest first";
  }

  // ----------------------------------------------------------------------------------------------------------- rows

  #draw(isQuiet) {
    const focused = this.#body.contains(document.activeElement) ? document.activeElement : null;
    const rows = this.#items.map((item) => this.#rows.get(item.exportId) ?? new Row(item, this.#actions));
    this.#rows = new Map(rows.map((row) => [row.id, row]));
    for (const row of rows) row.update(this.#exports.get(row.id));
    // Replacing the same rows would clear the user's selection.
    const elements = rows.map((row) => row.element);
    if (elements.length !== this.#body.children.length || elements.some((element, index) => element !== this.#body.children[index])) fill(this.#body, elements);
    if (focused) (focused.isConnected ? focused : this.element.querySelector("#history-title")).focus({ preventScroll: true });
    this.#drawState();
    this.#pager.hidden = !rows.length && this.#page === 0 && !this.#next;
    this.#newer.disabled = this.#page === 0;
    this.#older.disabled = !this.#next;
    const { before } = this.#pages[this.#page];
    const isWhole = this.#page === 0 && !this.#next;
    const range = isWhole ? `${number(rows.length)} ${rows.length === 1 ? "export" : "exports"}` : `${number(before + 1)} to ${number(before + rows.length)}`;
    this.#range.textContent = range;
    if (!isQuiet) announceToScreenReader(rows.length ? `Export history: ${range}` : "Export history: no exports");
  }

  #drawState() {
    this.#table.hidden = !this.#items.length;
    if (this.#items.length) return fill(this.#state);
    const [headline, text, button] = this.#next
      ? ["No matches yet", "None of the exports searched so far match. There are older exports.", h("button", { type: "button", class: "button", onclick: () => this.#goTo(this.#page + 1) }, "Search older exports")]
      : isFiltered(this.#view)
        ? ["No exports match", "No export has the selected status and dates.", h("button", { type: "button", class: "button", onclick: () => this.#clearFilters() }, "Clear filters")]
        : ["No exports yet", "Exports appear here as soon as they are launched.", null];
    return fill(this.#state, icon("file"), h("p", { class: "headline" }, headline), h("p", { class: "muted" }, text), button);
  }

  #drawError(error, page, isQuiet) {
    const retry = h("button", { type: "button", class: "button", onclick: () => this.load(page) }, "Try again");
    // Keep the rows that are shown: the connection bar already shows that there was no response.
    if (this.#items.length && (isQuiet || !error.status)) return;
    this.#items = [];
    this.#rows.clear();
    this.#table.hidden = true;
    this.#pager.hidden = true;
    fill(this.#state, h("div", { role: "alert" }, icon("error"), h("p", { class: "headline" }, "The history could not be loaded"), h("p", { class: "muted" }, errorText(error)), retry));
    // The next refresh reloads the list, however recent this attempt was.
    this.#loadedAt = 0;
  }
}

class Row {
  #actions;
  #drawnState = "";
  #drawnRecipients = "";
  #cells;

  constructor(item, actions) {
    this.id = item.exportId;
    this.#actions = actions;
    const cell = (name, ...content) => h("td", { role: "cell", class: `col-${name}` }, content);
    const open = h("button", { type: "button", class: "id", title: `Details of ${this.id}`, onclick: (event) => this.#open(event) }, h("code", {}, shortId(this.id)));
    this.#cells = {
      id: cell("id", h("span", { class: "line" }, open, copyButton(this.id, "export ID")), h("span", { class: "remark" }, optionsText(item))),
      recipients: cell("recipients"),
      createdAt: cell("created", time(item.createdAt), h("span", { class: "remark" })),
      status: cell("status"),
      actions: cell("actions"),
    };
    this.element = h("tr", { role: "row", onclick: () => document.getSelection().isCollapsed && actions.open(this.id) }, Object.values(this.#cells));
  }

  #open(event) {
    event.stopPropagation();
    this.#actions.open(this.id);
  }

  update(item) {
    const { createdAt, status, actions } = this.#cells;
    this.#updateRecipients(item.recipients);
    const text = remark(item);
    const state = JSON.stringify([statusOf(item), text, relative(item.createdAt), canResend(item)]);
    if (state === this.#drawnState) return;
    this.#drawnState = state;
    fill(createdAt.lastChild, relative(item.createdAt));
    fill(status, badge(item), h("span", { class: "remark" }, text));
    refill(actions, h("span", { class: "line" }, this.#action(item), icon("right")));
  }

  #updateRecipients(recipients) {
    const state = JSON.stringify(recipients);
    if (state === this.#drawnRecipients) return;
    this.#drawnRecipients = state;
    const { to, cc } = recipients;
    const rest = cc.length - SHOWN_CC;
    const expand = (event) => {
      event.stopPropagation();
      for (const line of list.children) line.hidden = false;
      event.currentTarget.parentElement.remove();
    };
    const list = h(
      "ul",
      {},
      h("li", {}, to),
      cc.map((address, index) => h("li", { class: "remark", hidden: index >= SHOWN_CC }, `cc ${address}`)),
      rest > 0 && h("li", { class: "remark" }, h("button", { type: "button", class: "link", onclick: expand }, `and ${rest} more`)),
    );
    fill(this.#cells.recipients, h("div", { class: "addresses" }, list, copyButton(allRecipients(recipients), cc.length ? "recipients" : "recipient")));
  }

  #action(item) {
    const { download, relaunch, resend } = this.#actions;
    const named = (label) => ({ "aria-label": `${label} ${this.id.slice(-8)}` });
    if (item.status === "PENDING") return null;
    if (canDownload(item)) return action("Download", "download", () => download(item), "small", named("Download"));
    if (canResend(item)) return action("Resend", "mail", () => resend(item), "small", named("Resend e-mail for"));
    return action("Relaunch", "relaunch", () => relaunch(item), "small", named("Relaunch"));
  }
}

/** A placeholder with the height of a row, shown while the first page loads. */
function skeletonRow() {
  return h("tr", { role: "row", class: "skeleton", "aria-hidden": "true" }, ["id", "recipients", "created", "status", "actions"].map((name) => h("td", { role: "cell", class: `col-${name}` }, h("div", { class: "skeleton-line wide" }), h("div", { class: "skeleton-line" }))));
}
