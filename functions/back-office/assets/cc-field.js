// The field for CC recipients. Each address becomes a chip that can be edited or removed and that shows its error.
//
// Keys: comma, semicolon or Enter complete an address. Backspace in the empty field edits the last one. All chips are a
// single tab stop: the arrow keys move between them, Delete removes a chip, Enter edits it.

import { fill, uniqueId, h, icon } from "./dom.js";
import { announceToScreenReader } from "./announce.js";
import { sentence } from "./api.js";
import { MAX_CC, addressError, isSame, split } from "./addresses.js";

export class CcField {
  #to;
  #entries;
  #onChange;
  #serverError = null;
  #hintId = uniqueId("cc-hint");
  #errorsId = uniqueId("cc-errors");
  #list = h("ul", { class: "chips", "aria-label": "CC addresses", onkeydown: (event) => this.#onChipKey(event) });
  #errors = h("ul", { class: "errors", id: this.#errorsId });
  #count = h("span", { class: "cc-count" });
  #input = h("input", {
    type: "text", inputmode: "email", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    id: uniqueId("cc"), placeholder: "name@example.com",
    "aria-describedby": `${this.#hintId} ${this.#errorsId}`,
    onkeydown: (event) => this.#onKey(event),
    oninput: () => this.#onInput(),
    onpaste: (event) => this.#onPaste(event),
    // A new chip could move the pressed element away before it is released. The form completes the address itself.
    onblur: () => document.querySelector(":is(button, summary, label):active") || this.commit(),
  });
  element = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: this.#input.id }, "CC recipients ", h("span", { class: "muted" }, "(optional)")), this.#count),
    // A click next to the chips focuses the input, as in any text field.
    h("div", { class: "cc-box", onclick: (event) => event.target === event.currentTarget && this.#input.focus() }, this.#list, this.#input),
    h("p", { class: "hint", id: this.#hintId }, "Separate addresses with commas. You can also paste a list."),
    this.#errors,
  );

  /** `to` is the main recipient, who cannot be added. `cc` is the initial list, `text` the text after it. */
  constructor(to, { cc, text }, onChange) {
    this.#to = to;
    this.#onChange = onChange;
    this.restore({ cc, text });
  }

  /** What the user has entered: the list, and the text that is not an address of it yet. */
  get draft() {
    return { cc: this.addresses, text: this.#input.value };
  }

  restore({ cc, text }) {
    this.#entries = cc.map(entry);
    this.#input.value = text;
    this.#serverError = null;
    this.#draw();
  }

  get addresses() {
    return this.#entries.map(({ text }) => text);
  }

  get validAddresses() {
    return this.#entries.filter(({ error }) => !error).map(({ text }) => text);
  }

  /** Whether the list must not be sent yet. */
  get hasErrors() {
    return this.#entries.some(({ error }) => error) || this.#entries.length > MAX_CC;
  }

  focus() {
    this.#input.focus();
  }

  /** Turns the typed text into chips. */
  commit() {
    const text = this.#input.value;
    this.#input.value = "";
    this.#add(split(text));
  }

  add(address) {
    this.#add([address]);
  }

  /** Shows errors from the API: on the chip that a field like `cc[3]` names, otherwise below the list. */
  showErrors(errors) {
    this.#serverError = null;
    for (const { field, detail, message } of errors) {
      const index = /^cc\[(\d+)\]$/.exec(field)?.[1];
      const target = index && this.#entries[index];
      if (target) target.error = sentence(detail ?? message);
      else this.#serverError = sentence(detail ?? message);
    }
    this.#draw();
  }

  #add(texts) {
    if (!texts.length) return;
    const known = [];
    for (const text of texts) {
      if (isSame(text, this.#to) || this.#entries.some((old) => isSame(old.text, text))) known.push(text);
      else this.#entries.push(entry(text));
    }
    this.#changed();
    const added = texts.length - known.length;
    const invalid = this.#entries.slice(-added || this.#entries.length).filter(({ error }) => error).length;
    const parts = [
      added && (added === 1 ? `${this.#entries.at(-1).text} added` : `${added} addresses added`),
      added && invalid && `${invalid} not valid`,
      known.length && `${known.join(", ")}: already a recipient`,
    ];
    announceToScreenReader(parts.filter(Boolean).join("; "));
  }

  #remove(index) {
    const [removed] = this.#entries.splice(index, 1);
    this.#changed();
    announceToScreenReader(`${removed.text} removed`);
    const buttons = this.#list.querySelectorAll(".chip-remove");
    (buttons[Math.min(index, buttons.length - 1)] ?? this.#input).focus();
    if (buttons.length) this.#setTabStop(document.activeElement);
  }

  #edit(index) {
    this.commit();
    const [edited] = this.#entries.splice(index, 1);
    this.#input.value = edited.text;
    this.#changed();
    this.#input.focus();
  }

  #changed() {
    this.#serverError = null;
    this.#draw();
    this.#onChange();
  }

  #onInput() {
    if (/[,;]/.test(this.#input.value)) this.commit();
    else this.#onChange();
  }

  #onPaste(event) {
    const text = event.clipboardData.getData("text");
    // A single address is pasted as text, because the user may still be typing.
    if (!/[,;\r\n<]/.test(text) && split(text).length < 2) return;
    event.preventDefault();
    this.commit();
    this.#add(split(text));
  }

  #onKey(event) {
    const { key, target } = event;
    const isAtStart = target.selectionStart === 0 && target.selectionEnd === 0;
    if (key === "Enter" && target.value.trim()) {
      event.preventDefault();
      this.commit();
    } else if (key === "Backspace" && target.value === "" && this.#entries.length) {
      event.preventDefault();
      this.#edit(this.#entries.length - 1);
    } else if (key === "ArrowLeft" && isAtStart && this.#entries.length) {
      event.preventDefault();
      this.#setTabStop([...this.#list.querySelectorAll("button")].at(-1), true);
    }
  }

  #onChipKey(event) {
    const buttons = [...this.#list.querySelectorAll("button")];
    const at = buttons.indexOf(event.target);
    const index = [...this.#list.children].indexOf(event.target.closest("li"));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      if (buttons[to]) this.#setTabStop(buttons[to], true);
      else if (to === buttons.length) this.#input.focus();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.#remove(index);
    }
  }

  /** Makes a button the list's only tab stop. */
  #setTabStop(button, focus = false) {
    for (const other of this.#list.querySelectorAll("button")) other.tabIndex = other === button ? 0 : -1;
    if (focus) button.focus();
  }

  #draw() {
    const chips = this.#entries.map(({ text, error }, index) =>
      h(
        "li",
        { class: error ? "chip bad" : "chip" },
        error && icon("error"),
        h("button", {
          type: "button", class: "chip-text", title: error ? `${text}: ${error}` : text,
          "aria-label": `${text}${error ? `, not valid: ${error}` : ""}. Edit`,
          onclick: () => this.#edit(index),
        }, text),
        h("button", {
          type: "button", class: "chip-remove", "aria-label": `Remove ${text}`, onclick: () => this.#remove(index),
        }, icon("close")),
      ),
    );
    fill(this.#list, chips);
    this.#list.hidden = !chips.length;
    if (chips.length) this.#setTabStop(this.#list.querySelector("button"));

    const count = this.#entries.length;
    fill(this.#count, count ? `${count} of ${MAX_CC}` : "");
    this.#count.classList.toggle("bad", count > MAX_CC);
    const errors = this.#entries.filter(({ error }) => error).map(({ text, error }) => [h("strong", {}, text), ` ${error}`]);
    if (count > MAX_CC) errors.push([`At most ${MAX_CC} CC recipients are allowed. Remove ${count - MAX_CC}.`]);
    if (this.#serverError) errors.push([this.#serverError]);
    fill(this.#errors, errors.map((text) => h("li", {}, icon("error"), h("span", {}, text))));
    if (errors.length) this.#input.setAttribute("aria-invalid", "true");
    else this.#input.removeAttribute("aria-invalid");
  }
}

const entry = (text) => ({ text, error: addressError(text) });
