// The exports that the page has loaded, and what their statuses mean to the user.

export const STATUSES = {
  PENDING: { label: "Pending", icon: "clock" },
  READY: { label: "Ready", icon: "check" },
  FAILED: { label: "Failed", icon: "error" },
  EXPIRED: { label: "Expired", icon: "hourglass" },
};

/** By failure code: a short title and advice. */
export const FAILURES = {
  INVALID_ROWS: ["Some rows are invalid", "Download the invalid rows and send the file to the payments team. Relaunch the export when they have corrected the rows."],
  FILE_TOO_LARGE: ["Too many rows for one file", "Export a shorter period."],
  XLSX_TOO_LARGE: ["Too large for an Excel file", "Launch the export as CSV, or with a shorter period."],
  EMAIL_NOT_SENT: ["E-mail rejected", "The file is available. Check the addresses, then resend the e-mail."],
  GENERATION_FAILED: ["Could not be completed", "Relaunch the export. If it fails again, send the export ID to your administrator."],
  INTERNAL_ERROR: ["Internal error", "Send the export ID to your administrator. Relaunch the export once the cause is fixed."],
  DEADLINE_PASSED: ["Took too long", "Relaunch the export. If it fails again, send the export ID to your administrator."],
  CANCELLED: ["Cancelled", "Relaunch the export if you still need it."],
  FAILED_BY_ADMINISTRATOR: ["Failed by an administrator", "Ask your administrator for the reason. Relaunch the export when the cause is resolved."],
};

export const failureTitle = ({ code, cancelledBy }) => (cancelledBy ? `Cancelled by ${cancelledBy.name}` : (FAILURES[code]?.[0] ?? "Failed"));
export function failureAdvice(item) {
  const { code, retryable } = item.failure ?? {};
  if (isFileGone(item)) return `The file was deleted. ${GONE_ADVICE}`;
  if (item.file && ["GENERATION_FAILED", "DEADLINE_PASSED", "INTERNAL_ERROR"].includes(code)) return "The file is complete. Resend the e-mail. If that fails, too, send the export ID to your administrator.";
  return FAILURES[code]?.[1] ?? (retryable ? "Relaunch the export." : "Send the export ID to your administrator.");
}

export const GONE_ADVICE = "Relaunch the export to get a new file.";

/** The status at `now`. A READY export expires with its link, even before the next response says so. */
export function statusOf(item, now = Date.now()) {
  const isExpired = item.status === "READY" && item.linkExpiresAt && Date.parse(item.linkExpiresAt) <= now;
  return isExpired ? "EXPIRED" : item.status;
}

const hasFile = (item, now) => Boolean(item.file) && !item.isFileDeleted && Date.parse(item.file.expiresAt) > now;

export const isFileGone = (item, now = Date.now()) => Boolean(item.file) && !hasFile(item, now);
export const canDownload = (item, now = Date.now()) => statusOf(item, now) === "READY" && hasFile(item, now);
const isPending = (item) => item.status === "PENDING";
/** Until the file is complete. */
export const canCancel = (item) => isPending(item) && !item.file;
export const canResend = (item, now = Date.now()) => !isPending(item) && hasFile(item, now);
export const canRelaunch = (item, now = Date.now()) =>
  ["EXPIRED", "FAILED"].includes(statusOf(item, now)) || isFileGone(item, now);

/** So shortly before the link expires, the API may omit the download URL although the file exists. */
const LINK_MARGIN_MS = 5000;

/** An ended export is never pending again, whatever the clocks of the functions show. */
const isOlder = (item, stored) =>
  isPending(item) === isPending(stored) ? item.updatedAt < stored.updatedAt : isPending(item);

/** Emits "change" for every export that changes, and "end" when a pending export finishes. */
export class Exports extends EventTarget {
  #byId = new Map();
  /** IDs of exports whose file was deleted early. Lists do not report this, so it is stored separately. */
  #deleted = new Set();
  #latest = null;

  get(id) {
    return this.#byId.get(id);
  }

  /** The newest export, or null. Only the newest export can be pending. */
  get latest() {
    return this.#byId.get(this.#latest) ?? null;
  }

  get pending() {
    return this.latest && isPending(this.latest) ? this.latest : null;
  }

  /** Stores an export from a response. Ignores a response that is older than the stored one. */
  put(item) {
    const before = this.#byId.get(item.exportId);
    if (before && isOlder(item, before)) return;
    const stored = { ...item, isFileDeleted: this.#deleted.has(item.exportId) };
    this.#byId.set(item.exportId, stored);
    // IDs start with the creation time.
    if (this.#latest === null || item.exportId > this.#latest) this.#latest = item.exportId;
    this.dispatchEvent(new CustomEvent("change", { detail: stored }));
    if (before && isPending(before) && !isPending(item)) {
      this.dispatchEvent(new CustomEvent("end", { detail: stored }));
    }
  }

  /** Stores an export's details. A READY export without a download URL has lost its file. */
  putDetail(item) {
    if (item.downloadUrl) this.#deleted.delete(item.exportId);
    else if (item.status === "READY" && Date.parse(item.linkExpiresAt) > Date.now() + LINK_MARGIN_MS) this.#deleted.add(item.exportId);
    this.put(item);
  }

  /** Stores an export whose e-mail was just resent, which proves that its file exists. */
  putResent(item) {
    this.#deleted.delete(item.exportId);
    this.put(item);
  }

  markFileDeleted(id) {
    this.#deleted.add(id);
    this.put(this.#byId.get(id));
  }
}
