// Which part of the history is looked at. It lives in the page's address, so that a view can be shared, and the browser's
// Back leads through the views.

import { endOfDay, startOfDay } from "./format.js";
import { STATUSES } from "./exports.js";

const DATE = /^\d{4}-\d{2}-\d{2}$/;
export const SIZES = [20, 50, 100];

/** The view that the address tells. What makes no sense in it is left out. */
export function read() {
  const query = new URLSearchParams(location.search);
  const date = (name) => {
    const text = query.get(name) ?? "";
    return DATE.test(text) && !Number.isNaN(Date.parse(text)) ? text : "";
  };
  const size = Number(query.get("size"));
  return {
    statuses: Object.keys(STATUSES).filter((status) => (query.get("status") ?? "").split(",").includes(status)),
    from: date("from"),
    to: date("to"),
    sort: query.get("sort") === "createdAt:asc" ? "createdAt:asc" : "createdAt:desc",
    size: SIZES.includes(size) ? size : SIZES[0],
    open: query.get("export"),
  };
}

/** Puts a changed view into the address, as a step that Back undoes. */
export function change(changes) {
  const { statuses, from, to, sort, size, open } = { ...read(), ...changes };
  const query = new URLSearchParams();
  if (statuses.length) query.set("status", statuses.join(","));
  if (from) query.set("from", from);
  if (to) query.set("to", to);
  if (sort !== "createdAt:desc") query.set("sort", sort);
  if (size !== SIZES[0]) query.set("size", size);
  if (open) query.set("export", open);
  // Commas and colons are plain in a query, and the address is for people.
  const search = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  const address = location.pathname + (search && `?${search}`);
  if (address !== location.pathname + location.search) window.history.pushState(null, "", address);
}

export const isFiltered = ({ statuses, from, to }) => Boolean(statuses.length || from || to);

/** Whether the view begins with the newest export of all. */
export const showsLatest = (view) => !isFiltered(view) && view.sort === "createdAt:desc";

/** The view as the API's query. Days are those of the reader's calendar, because the times shown are, too. */
export const toQuery = ({ statuses, from, to, sort, size }) => ({
  statuses,
  createdFrom: from && startOfDay(from),
  createdTo: to && endOfDay(to),
  sort,
  size,
});
