// The fields of the launch dialog for what to export: format, period and the filters of the export type.

import { fill, uniqueId, h, icon } from "./dom.js";
import { sentence } from "./api.js";
import { capitalized, rowStatus } from "./format.js";
import { FILTER_LABELS, FORMATS_TEXT } from "./options.js";
import { PERIODS, boundsOf, boundsText } from "./period.js";
import { FORMATS, MAX_SUPPLIERS } from "./types.js";

const STORED_FORMAT = "backOfficeFormat";
const ACCOUNT_FIELDS = ["sourceBalanceAccountType", "targetBalanceAccountType"];
const CURRENCY = /^[A-Z]{3}$/;
const AMOUNT = /^-?\d{1,18}(\.\d{1,4})?$/;
const HINTS = {
  currencies: "ISO 4217 codes, such as EUR. Separate several with commas.",
  supplierIds: `At most ${MAX_SUPPLIERS}. Separate them with commas or new lines.`,
};

/** The initial state: that of an export to launch again, or everything in the format that was chosen last. */
function stateOf(item) {
  const remembered = sessionStorage.getItem(STORED_FORMAT);
  const state = { format: FORMATS.includes(remembered) ? remembered : FORMATS[0], period: "everything", from: "", to: "", statuses: [] };
  if (!item) return state;
  const { createdAtFrom, createdAtTo, currencies = [], supplierIds = [], ...filter } = item.filter;
  const period = createdAtFrom || createdAtTo ? "same" : "everything";
  return { ...state, ...filter, format: item.format, period, currencies: currencies.join(", "), supplierIds: supplierIds.join("\n") };
}

export class OptionsField {
  #type;
  #item;
  #state;
  #onChange;
  #bounds;
  /** By field: the control and the place for its error. */
  #controls = {};
  #dates;
  #shown = h("p", { class: "hint", "aria-live": "polite" });
  element = h("div", { class: "options" });

  /** `item` is the export to launch again, or null. */
  constructor(type, item, onChange) {
    this.#type = type;
    this.#item = item;
    this.#onChange = onChange;
    this.restore(stateOf(item));
  }

  /** What the user has entered. */
  get draft() {
    return this.#state;
  }

  restore(draft) {
    this.#state = structuredClone(draft);
    this.#draw();
  }

  /** The options as in the body of a request. */
  get body() {
    const { format, statuses, currencies, supplierIds, ...texts } = this.#state;
    const filter = { createdAtFrom: this.#bounds.from, createdAtTo: this.#bounds.to, statuses, currencies: currencyList(currencies), supplierIds: supplierList(supplierIds) };
    for (const field of ["amountMin", "amountMax", ...ACCOUNT_FIELDS]) filter[field] = texts[field]?.trim();
    const isSet = ([, value]) => value?.length;
    return { format, filter: Object.fromEntries(Object.entries(filter).filter(isSet)) };
  }

  /** Shows all problems and focuses the first field with one. Returns whether there is one. */
  check() {
    const { period, from, to, currencies, supplierIds, amountMin, amountMax } = this.#state;
    const invalidCodes = currencyList(currencies).filter((code) => !CURRENCY.test(code));
    const isAmount = (text) => !text?.trim() || AMOUNT.test(text.trim());
    return this.#show({
      createdAtFrom: period === "dates" && (from || to ? from && to && from > to && "The start date is after the end date." : "Enter a start date, an end date or both."),
      currencies:
        (invalidCodes.length > 0 && `Not a currency code: ${invalidCodes.join(", ")}.`) ||
        ((amountMin?.trim() || amountMax?.trim()) && currencyList(currencies).length !== 1 && "Enter exactly one currency, because amounts are compared in it."),
      supplierIds: supplierList(supplierIds).length > MAX_SUPPLIERS && `At most ${MAX_SUPPLIERS} suppliers, not ${supplierList(supplierIds).length}.`,
      amountMin: !isAmount(amountMin) && "Enter digits with a decimal point, such as 1234.50.",
      amountMax: !isAmount(amountMax) && "Enter digits with a decimal point, such as 1234.50.",
    });
  }

  /** Shows errors of the API whose fields are `format` or part of `filter`. Returns whether there are any. */
  showErrors(errors) {
    const found = {};
    for (const { field, detail, message } of errors) {
      const name = /^(?:filter\.)?(\w+)/.exec(field ?? "")?.[1];
      if (name in this.#controls) found[name] = sentence(detail ?? message);
    }
    return this.#show(found);
  }

  #show(found) {
    let first = null;
    for (const [field, { input, text }] of Object.entries(this.#controls)) {
      text.textContent = found[field] || "";
      if (found[field]) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
      if (found[field]) first ??= input;
    }
    const more = first?.closest("details");
    if (more) more.open = true;
    first?.focus();
    return Boolean(first);
  }

  #set(changes) {
    Object.assign(this.#state, changes);
    this.#drawPeriod();
    this.#onChange();
  }

  // --------------------------------------------------------------------------------------------------------- drawing

  #draw() {
    this.#controls = {};
    const fields = this.#type.filters.filter(({ field }) => !field.startsWith("createdAt"));
    const isSet = fields.some(({ field }) => this.#state[field]?.length);
    fill(
      this.element,
      this.#format(),
      this.#period(),
      fields.length > 0 && h("details", { class: "more", open: isSet }, h("summary", {}, "Filters ", h("span", { class: "muted" }, "(optional)")), h("div", { class: "filter-fields" }, fields.map((filter) => this.#filter(filter)))),
    );
    this.#drawPeriod();
  }

  #format() {
    const choose = (format) => {
      sessionStorage.setItem(STORED_FORMAT, format);
      this.#set({ format });
    };
    const name = uniqueId("format");
    const choices = FORMATS.map((format) => {
      const input = h("input", { type: "radio", name, value: format, checked: format === this.#state.format, class: "visually-hidden", onchange: () => choose(format) });
      return h("label", { class: "pill" }, input, icon("file"), h("span", {}, FORMATS_TEXT[format].name, h("span", { class: "muted" }, ` ${FORMATS_TEXT[format].use}`)));
    });
    return this.#withError("format", h("fieldset", { class: "field" }, h("legend", {}, "Format"), h("div", { class: "pills" }, choices)));
  }

  #period() {
    const choices = Object.entries(this.#item && stateOf(this.#item).period === "same" ? { same: "Same as before", ...PERIODS } : PERIODS);
    const select = h("select", { id: uniqueId("period"), onchange: () => this.#set({ period: select.value }) }, choices.map(([period, label]) => h("option", { value: period, selected: period === this.#state.period }, label)));
    const day = (side, label) => {
      const input = h("input", { type: "date", id: uniqueId(side), max: "9999-12-31", value: this.#state[side], oninput: () => this.#set({ [side]: input.value }) });
      return h("div", {}, h("label", { for: input.id }, label), input);
    };
    const dates = h("div", { class: "dates" }, day("from", "From"), day("to", "To"));
    this.#dates = dates;
    const field = h("div", { class: "field" }, h("label", { for: select.id }, "Period ", h("span", { class: "muted" }, "(created at)")), select, dates, this.#shown);
    return this.#withError("createdAtFrom", field, dates.querySelector("input"));
  }

  #drawPeriod() {
    const { period, from, to } = this.#state;
    this.#dates.hidden = period !== "dates";
    const { createdAtFrom, createdAtTo } = this.#item?.filter ?? {};
    this.#bounds = period === "same" ? { from: createdAtFrom, to: createdAtTo } : boundsOf(period, { from, to });
    this.#shown.textContent = `${capitalized(this.#type.plural)} created ${boundsText(this.#bounds, "the launch")}.`;
  }

  #filter({ field, values }) {
    const label = FILTER_LABELS[field];
    if (field === "statuses") {
      const boxes = values.map((value) => h("input", { type: "checkbox", value, checked: this.#state.statuses.includes(value), class: "visually-hidden", onchange: () => this.#set({ statuses: boxes.filter((box) => box.checked).map((box) => box.value) }) }));
      return this.#withError(field, h("fieldset", { class: "field" }, h("legend", {}, label), h("div", { class: "pills" }, boxes.map((box) => h("label", { class: "pill plain-pill" }, box, rowStatus(box.value))))));
    }
    const id = uniqueId(field);
    const oninput = ({ target }) => this.#set({ [field]: target.value });
    const control = values.length
      ? h("select", { id, oninput }, h("option", { value: "" }, "Any"), values.map((value) => h("option", { value, selected: value === this.#state[field] }, rowStatus(value))))
      : h(field === "supplierIds" ? "textarea" : "input", { id, oninput, rows: field === "supplierIds" && 2, inputmode: field.startsWith("amount") && "decimal", autocomplete: "off", spellcheck: "false" });
    if (!values.length) control.value = this.#state[field] ?? "";
    const hint = HINTS[field] && h("p", { class: "hint", id: uniqueId("hint") }, HINTS[field]);
    return this.#withError(field, h("div", { class: isShort(field) ? "field short" : "field" }, h("label", { for: id }, label), control, hint), control, hint?.id);
  }

  /** Adds the place for the field's error, which describes `input`. */
  #withError(field, element, input = element.querySelector("input"), hint = "") {
    const text = h("p", { class: "field-error", id: uniqueId("error") });
    input.setAttribute("aria-describedby", `${hint} ${text.id}`.trim());
    this.#controls[field] = { input, text };
    element.append(text);
    return element;
  }
}

const isShort = (field) => field.startsWith("amount") || ACCOUNT_FIELDS.includes(field);
const parts = (pattern) => (text = "") => text.split(pattern).map((part) => part.trim()).filter(Boolean);
const supplierList = parts(/[,;\t\n]/);
const currencyList = (text = "") => parts(/[,;\s]/)(text.toUpperCase());
