// The export history: filters, sort order, pages, and a row an export that keeps up with what is known of it.

import { fill, freshId, h, icon, refill } from "./dom.js";
import { whisper } from "./announce.js";
import { explain } from "./api.js";
import { canDownload, canResend, STATUSES, statusOf } from "./exports.js";
import * as filters from "./filters.js";
import { number, relative, shortId } from "./format.js";
import { action, badge, copyButton, remark, time } from "./pieces.js";

const TICK = 30_000;
/** How many answers without a single export are looked through by themselves before the user is asked. */
const MOST_EMPTY_ANSWERS = 5;
const BONES = 6;

export class History {
  #api;
  #exports;
  #actions;
  #view = filters.read();
  /** Where each page begins: its cursor, and how many exports are before it. */
  #pages = [{ cursor: null, before: 0 }];
  #page = 0;
  #items = [];
  #next = null;
  #rows = new Map();
  #loading = null;
  #loadedAt = 0;
  #ticking;

  #statuses = Object.entries(STATUSES).map(([status, { label, icon: picture }]) => {
    const box = h("input", { type: "checkbox", value: status, class: "unseen", onchange: () => this.#filter() });
    return { box, pill: h("label", { class: `pill ${status.toLowerCase()}` }, box, icon(picture), label) };
  });
  #from = h("input", { type: "date", id: freshId("from"), onchange: () => this.#filter() });
  #to = h("input", { type: "date", id: freshId("to"), onchange: () => this.#filter() });
  #dateFault = h("p", { class: "date-fault", role: "alert", id: freshId("date-fault") });
  #clear = h("button", { type: "button", class: "button quiet small", onclick: () => this.#clearFilters() }, "Clear filters");
  #sort = h("button", { type: "button", class: "sort", onclick: () => this.#turn() });
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
        h("th", { scope: "col", role: "columnheader" }, h("span", { class: "unseen" }, "Actions")),
      ),
    ),
    this.#body,
  );
  #state = h("div", { class: "state" });
  #range = h("p", { class: "range" });
  #newer = h("button", { type: "button", class: "button small", onclick: () => this.#go(this.#page - 1) }, icon("left"), h("span", {}, "Previous"));
  #older = h("button", { type: "button", class: "button small trailing", onclick: () => this.#go(this.#page + 1) }, icon("right"), h("span", {}, "Next"));
  #size = h(
    "select",
    { id: freshId("size"), onchange: () => this.#set({ size: Number(this.#size.value) }) },
    filters.SIZES.map((size) => h("option", { value: size }, size)),
  );
  #pager = h(
    "nav",
    { class: "pager", "aria-label": "Pages of the export history", hidden: true },
    h("label", { class: "muted", for: this.#size.id }, "Rows a page"),
    this.#size,
    this.#range,
    this.#newer,
    this.#older,
  );

  element = h(
    "section",
    { class: "card history", "aria-labelledby": "history-title" },
    h("div", { class: "history-head" }, h("h2", { id: "history-title", tabindex: "-1" }, "Export history"), action("Refresh", "relaunch", () => this.load(this.#page), "quiet small")),
    h(
      "form",
      { class: "filters", role: "search", "aria-label": "Filter the export history", onsubmit: (event) => event.preventDefault() },
      h("fieldset", {}, h("legend", {}, "Status"), h("div", { class: "pills" }, this.#statuses.map(({ pill }) => pill))),
      h("div", { class: "dates" }, h("div", {}, h("label", { for: this.#from.id }, "From"), this.#from), h("div", {}, h("label", { for: this.#to.id }, "To"), this.#to)),
      this.#clear,
      this.#dateFault,
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
    // Times pass, and links end, without an answer that says so.
    this.#ticking = setInterval(() => {
      if (!document.hidden) for (const row of this.#rows.values()) row.update(this.#exports.get(row.id));
    }, TICK);
    this.#drawControls();
    fill(this.#body, Array.from({ length: BONES }, bones));
  }

  stop() {
    clearInterval(this.#ticking);
    this.#loading?.abort();
  }

  get view() {
    return this.#view;
  }

  get isFirstPage() {
    return this.#page === 0;
  }

  /** Takes the view from the address, where the browser's Back or Forward changed it. */
  follow() {
    const before = JSON.stringify(filters.toQuery(this.#view));
    this.#view = filters.read();
    this.#drawControls();
    if (JSON.stringify(filters.toQuery(this.#view)) !== before) this.#restart();
  }

  /** Loads again if what is shown is older than `age`. */
  refresh(age = 0) {
    if (Date.now() - this.#loadedAt > age) this.load(this.#page);
  }

  async load(page = 0) {
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    this.#table.setAttribute("aria-busy", "true");
    const query = filters.toQuery(this.#view);
    let { cursor } = this.#pages[page];
    let items = [];
    try {
      for (let answers = 0; answers < MOST_EMPTY_ANSWERS && !items.length && cursor !== undefined; answers += 1) {
        const answer = await this.#api.list({ ...query, cursor }, loading.signal);
        items = answer.content;
        cursor = answer.nextCursor ?? undefined;
      }
    } catch (error) {
      if (loading.signal.aborted) return;
      this.#table.setAttribute("aria-busy", "false");
      this.#drawError(error, page);
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
    this.#draw();
  }

  // ------------------------------------------------------------------------------------------------------- controls

  #filter() {
    const [from, to] = [this.#from.value, this.#to.value];
    const isBackwards = from && to && from > to;
    this.#dateFault.textContent = isBackwards ? "The start is after the end." : "";
    for (const input of [this.#from, this.#to]) {
      if (isBackwards) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    if (isBackwards) return;
    this.#set({ statuses: this.#statuses.map(({ box }) => box).filter((box) => box.checked).map((box) => box.value), from, to });
  }

  #clearFilters() {
    this.#dateFault.textContent = "";
    this.#set({ statuses: [], from: "", to: "" });
    this.#statuses[0].box.focus();
  }

  #turn() {
    this.#set({ sort: this.#view.sort === "createdAt:desc" ? "createdAt:asc" : "createdAt:desc" });
  }

  #set(changes) {
    filters.change(changes);
    this.#view = filters.read();
    this.#drawControls();
    this.#restart();
  }

  #restart() {
    this.#pages = [{ cursor: null, before: 0 }];
    this.load(0);
  }

  async #go(page) {
    await this.load(page);
    // The button that was pressed may be switched off now, and the new rows begin above.
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
    this.#clear.classList.toggle("gone", !filters.isFiltered(this.#view));
    const isNewestFirst = sort === "createdAt:desc";
    this.#createdAt.setAttribute("aria-sort", isNewestFirst ? "descending" : "ascending");
    refill(this.#sort, "Created at", icon(isNewestFirst ? "down" : "up"));
    this.#sort.title = isNewestFirst ? "Newest first. Press for oldest first" : "Oldest first. Press for newest first";
  }

  // ----------------------------------------------------------------------------------------------------------- rows

  #draw() {
    const focused = this.#body.contains(document.activeElement) ? document.activeElement : null;
    const rows = this.#items.map((item) => this.#rows.get(item.exportId) ?? new Row(item, this.#actions));
    this.#rows = new Map(rows.map((row) => [row.id, row]));
    for (const row of rows) row.update(this.#exports.get(row.id));
    fill(this.#body, rows.map((row) => row.element));
    if (focused) (focused.isConnected ? focused : this.element.querySelector("#history-title")).focus({ preventScroll: true });
    this.#drawState();
    this.#pager.hidden = !rows.length && this.#page === 0 && !this.#next;
    this.#newer.disabled = this.#page === 0;
    this.#older.disabled = !this.#next;
    const { before } = this.#pages[this.#page];
    const isWhole = this.#page === 0 && !this.#next;
    const range = isWhole ? `${number(rows.length)} ${rows.length === 1 ? "export" : "exports"}` : `${number(before + 1)} to ${number(before + rows.length)}`;
    this.#range.textContent = range;
    whisper(rows.length ? `Export history: ${range}` : "Export history: no exports");
  }

  #drawState() {
    this.#table.hidden = !this.#items.length;
    if (this.#items.length) return fill(this.#state);
    const [headline, words, button] = this.#next
      ? ["Nothing found yet", "None of the exports looked through so far match. There are older ones.", h("button", { type: "button", class: "button", onclick: () => this.#go(this.#page + 1) }, "Search on")]
      : filters.isFiltered(this.#view)
        ? ["No exports match", "No export has this status in this time.", h("button", { type: "button", class: "button", onclick: () => this.#clearFilters() }, "Clear filters")]
        : ["No exports yet", "Exports appear here as soon as they are launched, and stay.", null];
    return fill(this.#state, icon("file"), h("p", { class: "headline" }, headline), h("p", { class: "muted" }, words), button);
  }

  #drawError(error, page) {
    const retry = h("button", { type: "button", class: "button", onclick: () => this.load(page) }, "Try again");
    // What is there is better than nothing, and the bar says that the server is away.
    if (this.#items.length && !error.status) return;
    this.#items = [];
    this.#rows.clear();
    this.#table.hidden = true;
    this.#pager.hidden = true;
    fill(this.#state, h("div", { role: "alert" }, icon("fault"), h("p", { class: "headline" }, "The history could not be loaded"), h("p", { class: "muted" }, explain(error)), retry));
    // A list that never was there comes by itself once the server is back.
    this.#loadedAt = 0;
  }
}

/** An export's row. */
class Row {
  #actions;
  #drawn = "";
  #cells;

  constructor(item, actions) {
    this.id = item.exportId;
    this.#actions = actions;
    const cell = (name, ...content) => h("td", { role: "cell", class: `col-${name}` }, content);
    const open = h("button", { type: "button", class: "id", title: `Details of ${this.id}`, onclick: (event) => this.#open(event) }, h("code", {}, shortId(this.id)));
    this.#cells = {
      id: cell("id", h("span", { class: "line" }, open, copyButton(this.id, "export ID"))),
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
    const { recipients, createdAt, status, actions } = this.#cells;
    const words = remark(item);
    const drawn = JSON.stringify([statusOf(item), words, item.recipients, relative(item.createdAt), canResend(item)]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const { to, cc } = item.recipients;
    const copies = cc.length > 0 && `cc ${cc.slice(0, 3).join(", ")}${cc.length > 3 ? ` and ${cc.length - 3} more` : ""}`;
    fill(recipients, h("span", { class: "address", title: to }, to), copies && h("span", { class: "remark", title: cc.join(", ") }, copies));
    fill(createdAt.lastChild, relative(item.createdAt));
    fill(status, badge(item), h("span", { class: "remark" }, words));
    refill(actions, h("span", { class: "line" }, this.#action(item), icon("right")));
  }

  #action(item) {
    const { download, relaunch, resend } = this.#actions;
    const named = (label) => ({ "aria-label": `${label} ${this.id.slice(-8)}` });
    if (item.status === "PENDING") return null;
    if (canDownload(item)) return action("Download", "download", () => download(item), "small", named("Download"));
    if (canResend(item)) return action("Resend", "mail", () => resend(item), "small", named("Resend e-mail of"));
    return action("Relaunch", "relaunch", () => relaunch(item), "small", named("Relaunch"));
  }
}

/** A row's outline while the first page loads, of a row's height. */
function bones() {
  return h("tr", { role: "row", class: "bones", "aria-hidden": "true" }, ["id", "recipients", "created", "status", "actions"].map((name) => h("td", { role: "cell", class: `col-${name}` }, h("div", { class: "bone wide" }), h("div", { class: "bone" }))));
}
