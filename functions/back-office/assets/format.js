// Formats numbers, sizes, times and IDs in the page's language and the user's time zone.

import { TYPES } from "./types.js";

const LOCALE = "en-GB";
const DAY = 86_400_000;

const WHOLE = new Intl.NumberFormat(LOCALE);
const MINUTES = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
const LOCAL_TIME = new Intl.DateTimeFormat(LOCALE, MINUTES);
const LOCAL_TIME_WITH_SECONDS = new Intl.DateTimeFormat(LOCALE, { ...MINUTES, second: "2-digit" });
const UTC_TIME = new Intl.DateTimeFormat(LOCALE, { ...MINUTES, second: "2-digit", timeZone: "UTC" });
const CLOCK = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always" });

export const number = (value) => WHOLE.format(value);

export const capitalized = (text) => text[0].toUpperCase() + text.slice(1);

/** A type's title as a heading: `Marketplace Payouts`. */
export const pageTitle = ({ title }) => title.split(" ").map(capitalized).join(" ");

/** What the rows of an export are called: `Payouts`. */
export const rowsLabel = ({ exportType }) => capitalized(typeOf(exportType).plural);

/** A status of a row: `Insufficient funds`. */
export const rowStatus = (name) => capitalized(name.toLowerCase().replaceAll("_", " "));

const typeOf = (exportType) => TYPES.find(({ slug }) => slug === exportType);

/** `1 payout`, `1,235 payouts`: a number of rows of an export. */
export function rows({ exportType }, count) {
  const { singular, plural } = typeOf(exportType);
  return `${number(count)} ${count === 1 ? singular : plural}`;
}

/** `1.2 MB`, rounded, in powers of ten as most file managers show it. The mail shows the same: size-cases.json tests both. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  const units = ["kB", "MB", "GB", "TB"];
  const tenths = (index) => Math.round(bytes / (100 * 1000 ** index));
  // What would be rounded to 1000.0 is 1.0 of the next unit.
  const index = units.findIndex((unit, index) => tenths(index) < 10_000 || unit === "TB");
  return `${(tenths(index) / 10).toFixed(1)} ${units[index]}`;
}

/** A decimal with thousands separators. Never converted to floating point, so it stays exact. */
export function amount(text) {
  const [, sign, whole, fraction] = /^(-?)(\d+)(\.\d+)?$/.exec(text) ?? [null, "", text, ""];
  return `${sign ? "−" : ""}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${fraction ?? ""}`;
}

/** The exact sum of decimals of one currency. */
export function sum(amounts) {
  const digits = Math.max(0, ...amounts.map((text) => text.split(".")[1]?.length ?? 0));
  const minor = amounts.reduce((total, text) => {
    const [whole, fraction = ""] = text.split(".");
    return total + BigInt(whole + fraction.padEnd(digits, "0"));
  }, 0n);
  const text = (minor < 0n ? -minor : minor).toString().padStart(digits + 1, "0");
  const cut = text.length - digits;
  return `${minor < 0n ? "-" : ""}${text.slice(0, cut)}${digits ? `.${text.slice(cut)}` : ""}`;
}

export const localTime = (time) => LOCAL_TIME.format(new Date(time));
export const utcTime = (time) => UTC_TIME.format(new Date(time));

/** A time in the user's time zone, with seconds unless it is a whole minute. */
export const instant = (time) => (new Date(time) % 60_000 ? LOCAL_TIME_WITH_SECONDS : LOCAL_TIME).format(new Date(time));
export const clock = (time) => CLOCK.format(new Date(time));

/** `in 2 days`, `5 minutes ago`, `just now`. */
export function relative(time, now = Date.now()) {
  const span = new Date(time) - now;
  const size = Math.abs(span);
  if (size < 45_000) return span > 0 ? "in less than a minute" : "just now";
  for (const [unit, length, until] of [
    ["minute", 60_000, 55 * 60_000],
    ["hour", 3_600_000, 36 * 3_600_000],
    ["day", DAY, 60 * DAY],
    ["month", 30 * DAY, 700 * DAY],
    ["year", 365 * DAY, Infinity],
  ]) {
    if (size < until) return RELATIVE.format(Math.sign(span) * Math.max(1, Math.round(size / length)), unit);
  }
  return "";
}

/** The random end of an export ID. Its start is the creation time, which hardly differs between exports of one day. */
export const shortId = (id) => `${id.split("_")[0]}_…${id.slice(-8)}`;

/** The first and last instant of a day in the user's time zone, in the API's format. */
export const startOfDay = (date) => new Date(`${date}T00:00:00.000`).toISOString();
export const endOfDay = (date) => new Date(`${date}T23:59:59.999`).toISOString();
