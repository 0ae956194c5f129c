// Small components that several parts of the page share.

import { h, icon } from "./dom.js";
import { announce } from "./announce.js";
import { localTime, number, relative, rows, utcTime } from "./format.js";
import { STATUSES, canDownload, failureTitle, isFileGone, statusOf } from "./exports.js";
import { CSV_ADVICE } from "./types.js";

/** Shows the status as a word and an icon, not by colour alone. */
export function badge(item) {
  const status = statusOf(item);
  const { label, icon: iconName } = STATUSES[status];
  return h("span", { class: `badge ${status.toLowerCase()}` }, icon(iconName), label);
}

/** A time in the user's time zone, with UTC in the tooltip. */
export function time(value, text = localTime(value)) {
  return h("time", { datetime: value, title: utcTime(value) }, text);
}

/** A short note on the status. */
export function remark(item) {
  const status = statusOf(item);
  if (status === "PENDING") return item.progress.rows ? `${rows(item, item.progress.rows)} so far` : "Starting";
  if (status === "FAILED") return failureTitle(item.failure ?? {});
  if (status === "READY" && canDownload(item)) return `Link expires ${relative(item.linkExpiresAt)}`;
  return isFileGone(item) ? "File deleted" : `Link expired ${relative(item.linkExpiresAt)}`;
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`Copied the ${what}`, "good");
  } catch {
    announce(`The browser did not allow copying the ${what}`, "bad");
  }
}

/** Copies the full text, even if only part of it is shown. */
export function copyButton(text, what) {
  const onclick = (event) => {
    event.stopPropagation();
    copy(text, what);
  };
  return h("button", { type: "button", class: "button quiet icon-only", title: `Copy the ${what}`, "aria-label": `Copy the ${what}`, onclick }, icon("copy"));
}

/** All recipients of an export, for copying. */
export const allRecipients = ({ to, cc }) => [to, ...cc].join(", ");

/** A button with an icon. */
export function action(label, iconName, onclick, classes = "", attributes = {}) {
  const clicked = (event) => {
    event.stopPropagation();
    onclick(event);
  };
  return h("button", { type: "button", class: `button ${classes}`, onclick: clicked, ...attributes }, icon(iconName), h("span", {}, label));
}

/** All recipients in one line: `a@b.c and 2 others`. */
export function recipientsText({ to, cc }) {
  if (!cc.length) return to;
  return cc.length === 1 ? `${to} and ${cc[0]}` : `${to} and ${number(cc.length)} others`;
}

/** An inline message. */
export function notice(tone, iconName, ...content) {
  return h("div", { class: `notice ${tone}` }, icon(iconName), h("div", {}, content));
}

export function csvHelp() {
  const { warning, programs, check } = CSV_ADVICE;
  return h(
    "details",
    { class: "help" },
    h("summary", {}, "Opening a CSV file in a spreadsheet"),
    h("p", {}, warning),
    h("ul", { class: "bullets" }, programs.map(([program, advice]) => h("li", {}, h("strong", {}, `${program}: `), advice))),
    h("p", {}, check),
    h("p", {}, "An Excel worksheet holds at most 1,048,576 rows, including the header. Load larger files into the Data Model, or use another tool. Times are in UTC. Text that starts like a formula is prefixed with an apostrophe, so that it cannot run when the file is opened in this way."),
  );
}
