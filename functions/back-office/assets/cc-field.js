// The field for CC addresses: each becomes a chip that can be corrected or removed, and that says what is wrong with it.
//
// Keys: comma, semicolon or Enter end an address; Backspace in the empty field takes the last one back. All chips
// are one stop of the Tab key; the arrow keys move between them, Delete removes, Enter corrects.

import { fill, freshId, h, icon } from "./dom.js";
import { whisper } from "./announce.js";
import { MOST_CC, complaint, isSame, split } from "./addresses.js";

export class CcField {
  #to;
  #entries;
  #onChange;
  #serverFault = null;
  #hintId = freshId("cc-hint");
  #faultsId = freshId("cc-faults");
  #list = h("ul", { class: "chips", "aria-label": "CC addresses", onkeydown: (event) => this.#onChipKey(event) });
  #faults = h("ul", { class: "faults", id: this.#faultsId });
  #count = h("span", { class: "cc-count" });
  #input = h("input", {
    type: "text", inputmode: "email", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    id: freshId("cc"), placeholder: "name@example.com",
    "aria-describedby": `${this.#hintId} ${this.#faultsId}`,
    onkeydown: (event) => this.#onKey(event),
    oninput: () => this.#onInput(),
    onpaste: (event) => this.#onPaste(event),
    onblur: () => this.commit(),
  });
  element = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: this.#input.id }, "CC recipients ", h("span", { class: "muted" }, "(optional)")), this.#count),
    // A click beside the chips goes to where one types, as in any text field.
    h("div", { class: "cc-box", onclick: (event) => event.target === event.currentTarget && this.#input.focus() }, this.#list, this.#input),
    h("p", { class: "hint", id: this.#hintId }, "Separate several addresses with commas. Pasted lists are taken apart."),
    this.#faults,
  );

  /** `to` gets the mail anyway; `cc` is there to begin with. */
  constructor(to, cc, onChange) {
    this.#to = to;
    this.#entries = cc.map(entry);
    this.#onChange = onChange;
    this.#draw();
  }

  get addresses() {
    return this.#entries.map(({ text }) => text);
  }

  /** Those of them that are addresses. */
  get validAddresses() {
    return this.#entries.filter(({ fault }) => !fault).map(({ text }) => text);
  }

  /** Whether something keeps the list from being sent. */
  get hasFaults() {
    return this.#entries.some(({ fault }) => fault) || this.#entries.length > MOST_CC;
  }

  focus() {
    this.#input.focus();
  }

  /** Makes chips of what is typed so far. */
  commit() {
    this.#add(split(this.#input.value));
    this.#input.value = "";
  }

  /** Adds an address that somebody asked for by another button. */
  add(address) {
    this.#add([address]);
  }

  /** Shows the server's faults: at their chips where a field like `cc[3]` names one, otherwise at the list. */
  showFaults(errors) {
    this.#serverFault = null;
    for (const { field, detail, message } of errors) {
      const index = /^cc\[(\d+)\]$/.exec(field)?.[1];
      const target = index && this.#entries[index];
      if (target) target.fault = sentence(detail ?? message);
      else this.#serverFault = sentence(detail ?? message);
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
    const bad = this.#entries.slice(-added || this.#entries.length).filter(({ fault }) => fault).length;
    const parts = [
      added && (added === 1 ? `${this.#entries.at(-1).text} added` : `${added} addresses added`),
      added && bad && `${bad} not valid`,
      known.length && `${known.join(", ")}: already a recipient`,
    ];
    whisper(parts.filter(Boolean).join("; "));
  }

  #remove(index) {
    const [gone] = this.#entries.splice(index, 1);
    this.#changed();
    whisper(`${gone.text} removed`);
    const buttons = this.#list.querySelectorAll(".chip-remove");
    (buttons[Math.min(index, buttons.length - 1)] ?? this.#input).focus();
    if (buttons.length) this.#rove(document.activeElement);
  }

  #correct(index) {
    this.commit();
    const [taken] = this.#entries.splice(index, 1);
    this.#changed();
    this.#input.value = taken.text;
    this.#input.focus();
  }

  #changed() {
    this.#serverFault = null;
    this.#draw();
    this.#onChange();
  }

  #onInput() {
    if (/[,;]/.test(this.#input.value)) this.commit();
  }

  #onPaste(event) {
    const text = event.clipboardData.getData("text");
    // One plain address may be the middle of what is being typed: that one is left to the field.
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
      this.#correct(this.#entries.length - 1);
    } else if (key === "ArrowLeft" && isAtStart && this.#entries.length) {
      event.preventDefault();
      this.#rove([...this.#list.querySelectorAll("button")].at(-1), true);
    }
  }

  #onChipKey(event) {
    const buttons = [...this.#list.querySelectorAll("button")];
    const at = buttons.indexOf(event.target);
    const index = [...this.#list.children].indexOf(event.target.closest("li"));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      if (buttons[to]) this.#rove(buttons[to], true);
      else if (to === buttons.length) this.#input.focus();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.#remove(index);
    }
  }

  /** Makes a button the one that the Tab key stops at. */
  #rove(button, focus = false) {
    for (const other of this.#list.querySelectorAll("button")) other.tabIndex = other === button ? 0 : -1;
    if (focus) button.focus();
  }

  #draw() {
    const chips = this.#entries.map(({ text, fault }, index) =>
      h(
        "li",
        { class: fault ? "chip bad" : "chip" },
        fault && icon("fault"),
        h("button", {
          type: "button", class: "chip-text", title: fault ? `${text}: ${fault}` : text,
          "aria-label": `${text}${fault ? `, not valid: ${fault}` : ""}. Correct`,
          onclick: () => this.#correct(index),
        }, text),
        h("button", {
          type: "button", class: "chip-remove", "aria-label": `Remove ${text}`, onclick: () => this.#remove(index),
        }, icon("close")),
      ),
    );
    fill(this.#list, chips);
    this.#list.hidden = !chips.length;
    if (chips.length) this.#rove(this.#list.querySelector("button"));

    const count = this.#entries.length;
    fill(this.#count, count ? `${count} of ${MOST_CC}` : "");
    this.#count.classList.toggle("bad", count > MOST_CC);
    const complaints = this.#entries.filter(({ fault }) => fault).map(({ text, fault }) => [h("strong", {}, text), ` ${fault}`]);
    if (count > MOST_CC) complaints.push([`At most ${MOST_CC} CC addresses: remove ${count - MOST_CC}.`]);
    if (this.#serverFault) complaints.push([this.#serverFault]);
    fill(this.#faults, complaints.map((text) => h("li", {}, icon("fault"), h("span", {}, text))));
    if (complaints.length) this.#input.setAttribute("aria-invalid", "true");
    else this.#input.removeAttribute("aria-invalid");
  }
}

const entry = (text) => ({ text, fault: complaint(text) });

/** The API's details begin in lower case where they follow a field's name. */
const sentence = (text = "Not accepted.") => text.charAt(0).toUpperCase() + text.slice(1).replace(/([^.])$/, "$1.");
