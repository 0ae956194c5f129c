// Small pieces that several parts of the page show.

import { h, icon } from "./dom.js";
import { say } from "./announce.js";
import { localTime, number, payouts, relative, utcTime } from "./format.js";
import { STATUSES, canDownload, failureTitle, isFileGone, statusOf } from "./exports.js";

/** The status in a word and a picture, not by its colour alone. */
export function badge(item) {
  const status = statusOf(item);
  const { label, icon: picture } = STATUSES[status];
  return h("span", { class: `badge ${status.toLowerCase()}` }, icon(picture), label);
}

/** A time of the reader's, with UTC on hover. */
export function time(value, text = localTime(value)) {
  return h("time", { datetime: value, title: utcTime(value) }, text);
}

/** What there is to say about a status in a few words. */
export function remark(item) {
  const status = statusOf(item);
  if (status === "PENDING") return item.progress.rows ? `${payouts(item.progress.rows)} so far` : "Starting";
  if (status === "FAILED") return failureTitle(item.failure ?? {});
  if (status === "READY" && canDownload(item)) return `Link expires ${relative(item.linkExpiresAt)}`;
  return isFileGone(item) ? "File deleted" : `Link expired ${relative(item.linkExpiresAt)}`;
}

/** A text that is copied in full, however much of it is shown. */
export function copyButton(text, what) {
  const copy = async (event) => {
    event.stopPropagation();
    try {
      await navigator.clipboard.writeText(text);
      say(`Copied the ${what}`, "good");
    } catch {
      say(`The browser does not let the page copy the ${what}`, "bad");
    }
  };
  return h("button", { type: "button", class: "button quiet icon-only", title: `Copy the ${what}`, "aria-label": `Copy the ${what}`, onclick: copy }, icon("copy"));
}

/** A button with a picture. */
export function action(label, picture, onclick, look = "", more = {}) {
  const pressed = (event) => {
    event.stopPropagation();
    onclick(event);
  };
  return h("button", { type: "button", class: `button ${look}`, onclick: pressed, ...more }, icon(picture), h("span", {}, label));
}

/** How everybody who gets a mail is told in one line: `a@b.c and 2 others`. */
export function recipientsText({ to, cc }) {
  if (!cc.length) return to;
  return cc.length === 1 ? `${to} and ${cc[0]}` : `${to} and ${number(cc.length)} others`;
}

/** A message at the place that it is about. */
export function notice(tone, picture, ...content) {
  return h("div", { class: `notice ${tone}` }, icon(picture), h("div", {}, content));
}

/** How to open the file. */
export function excelHelp() {
  return h(
    "details",
    { class: "help" },
    h("summary", {}, "Opening the file in Excel"),
    h(
      "ol",
      {},
      h("li", {}, "Do not double-click the file: depending on your region, Excel would put each line into one cell, or split it at commas inside texts, where a part could run as a formula."),
      h("li", {}, "In an empty workbook choose ", h("strong", {}, "Data › From Text/CSV"), " and pick the file."),
      h("li", {}, "File origin: ", h("strong", {}, "65001: Unicode (UTF-8)"), ". Delimiter: ", h("strong", {}, "Semicolon"), ". Then Load."),
      h("li", {}, "If amounts come out as text, choose Transform Data and set their type ", h("strong", {}, "using locale"), ": Decimal number, English (United States)."),
    ),
    h("p", {}, "A sheet holds 1,048,576 rows, the header included. Load larger files into the Data Model, or use another tool. Times are in UTC. A text that begins like a formula has an apostrophe before it, so that it cannot run if the file is loaded in this way."),
  );
}
