// The view: the export type, the filters, sort order and page size of its history, and the export whose details are open.
// It is stored in the page's URL, so that a view can be shared and the browser's Back button works.

import { endOfDay, startOfDay } from "./format.js";
import { STATUSES } from "./exports.js";
import { TYPES } from "./types.js";

const DATE = /^\d{4}-\d{2}-\d{2}$/;
export const PAGE_SIZES = [20, 50, 100];

/** Reads the view from the URL. Ignores invalid values. */
export function readView() {
  const query = new URLSearchParams(location.search);
  const date = (name) => {
    const text = query.get(name) ?? "";
    return DATE.test(text) && !Number.isNaN(Date.parse(text)) ? text : "";
  };
  const size = Number(query.get("size"));
  return {
    type: TYPES.find(({ slug }) => slug === query.get("type")) ?? TYPES[0],
    statuses: Object.keys(STATUSES).filter((status) => (query.get("status") ?? "").split(",").includes(status)),
    from: date("from"),
    to: date("to"),
    sort: query.get("sort") === "createdAt:asc" ? "createdAt:asc" : "createdAt:desc",
    size: PAGE_SIZES.includes(size) ? size : PAGE_SIZES[0],
    open: query.get("export"),
    isHelp: query.has("help"),
  };
}

/** Writes a changed view to the URL as a new history entry. */
export function changeView(changes) {
  const { type, statuses, from, to, sort, size, open } = { ...readView(), ...changes };
  const query = new URLSearchParams();
  if (type !== TYPES[0]) query.set("type", type.slug);
  if (statuses.length) query.set("status", statuses.join(","));
  if (from) query.set("from", from);
  if (to) query.set("to", to);
  if (sort !== "createdAt:desc") query.set("sort", sort);
  if (size !== PAGE_SIZES[0]) query.set("size", size);
  if (open) query.set("export", open);
  // Commas and colons need no encoding in a query and are easier to read without.
  const search = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  const url = location.pathname + (search && `?${search}`);
  if (url !== location.pathname + location.search) window.history.pushState(null, "", url);
}

/** The URL of a type's section. */
export const sectionAddress = (type) => location.pathname + (type === TYPES[0] ? "" : `?type=${type.slug}`);

/** The URL of the help on a type. */
export const helpAddress = (type) => `${location.pathname}?type=${type.slug}&help`;

/** The URL of an export in the section of its type, and whether that is the current section. Null if the ID is invalid. */
export function exportAddress(id) {
  const [, prefix] = /^([a-z]+)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.exec(id) ?? [];
  const type = TYPES.find(({ idPrefix }) => idPrefix === prefix);
  if (!type) return null;
  const url = new URL(sectionAddress(type), location.href);
  url.searchParams.set("export", id);
  return { href: url.href, isHere: type === readView().type };
}

export const isFiltered = ({ statuses, from, to }) => Boolean(statuses.length || from || to);

/** The view as API query parameters. Days are in the user's time zone, like the times on the page. */
export const viewQuery = ({ statuses, from, to, sort, size }) => ({
  statuses,
  createdAtFrom: from && startOfDay(from),
  createdAtTo: to && endOfDay(to),
  sort,
  size,
});
