// The periods that the launch dialog offers, computed in the browser's time zone.

import { endOfDay, instant, startOfDay } from "./format.js";

export const PERIODS = {
  everything: "Everything",
  lastMonth: "Last month",
  thisMonth: "This month",
  lastQuarter: "Last quarter",
  thisYear: "This year",
  dates: "Dates…",
};

/**
 * The first and last instant of a period, in the API's format. Both are null if it has no such end: a period that is not
 * over ends with the launch. `dates` has the days of the period "dates".
 */
export function boundsOf(period, dates, now = new Date()) {
  const [year, month] = [now.getFullYear(), now.getMonth()];
  const quarter = month - (month % 3);
  const between = (from, to) => ({ from: from.toISOString(), to: to && new Date(to - 1).toISOString() });
  const first = (inMonth) => new Date(year, inMonth, 1);
  switch (period) {
    case "lastMonth":
      return between(first(month - 1), first(month));
    case "thisMonth":
      return between(first(month), null);
    case "lastQuarter":
      return between(first(quarter - 3), first(quarter));
    case "thisYear":
      return between(first(0), null);
    case "dates":
      return { from: dates.from ? startOfDay(dates.from) : null, to: dates.to ? endOfDay(dates.to) : null };
    default:
      return { from: null, to: null };
  }
}

/** `from 1 Oct 2026, 00:00 CEST to 31 Oct 2026, 23:59:59 CET`. `end` is used if the period has no last instant. */
export function boundsText({ from, to }, end) {
  return `${from ? `from ${instant(from)} ` : ""}${from ? "" : "up "}to ${to ? instant(to) : end}`;
}
