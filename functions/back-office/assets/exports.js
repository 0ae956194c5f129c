// The exports that the page knows, each as it was last told by the server, and what their states mean for a user.

/** Every status, with its words and its picture. */
export const STATUSES = {
  PENDING: { label: "Pending", icon: "clock" },
  READY: { label: "Ready", icon: "check" },
  FAILED: { label: "Failed", icon: "fault" },
  EXPIRED: { label: "Expired", icon: "hourglass" },
};

/** Why exports fail, in few words, and what to do about it. */
const FAILURES = {
  PAYOUTS_NOT_WRITABLE: ["Payouts have faulty values", "Give this list to whoever keeps the payouts. Once they are corrected, relaunch the export."],
  FILE_TOO_LARGE: ["Too many payouts for one file", "Tell your administrator the export ID: older payouts have to be archived first."],
  EMAIL_NOT_SENT: ["E-mail was refused", "The file is there. Check the addresses, then send the e-mail again."],
  GENERATION_FAILED: ["Could not be finished", "Relaunch the export. If it fails again, tell your administrator the export ID."],
  DEADLINE_PASSED: ["Took too long", "Relaunch the export. If it fails again, tell your administrator the export ID."],
  ENDED_BY_ADMINISTRATOR: ["Ended by an administrator", "Relaunch the export when the cause is removed; your administrator can tell you more."],
};

export const failureTitle = ({ code }) => FAILURES[code]?.[0] ?? "Failed";
export function failureAdvice(item) {
  const { code, retryable } = item.failure ?? {};
  if (isFileGone(item)) return `The file was deleted. ${GONE_ADVICE}`;
  return FAILURES[code]?.[1] ?? (retryable ? "Relaunch the export." : "Tell your administrator the export ID.");
}

/** What to do about an export whose file was deleted. */
export const GONE_ADVICE = "Relaunch the export to get a new file.";

/** The status at `now`: a link's end does not wait for the next answer. */
export function statusOf(item, now = Date.now()) {
  const isOver = item.status === "READY" && item.linkExpiresAt && Date.parse(item.linkExpiresAt) <= now;
  return isOver ? "EXPIRED" : item.status;
}

const hasFile = (item, now) => Boolean(item.file) && !item.isFileDeleted && Date.parse(item.file.expiresAt) > now;

export const isFileGone = (item, now = Date.now()) => Boolean(item.file) && !hasFile(item, now);
export const canDownload = (item, now = Date.now()) => statusOf(item, now) === "READY" && hasFile(item, now);
export const canResend = (item, now = Date.now()) => item.status !== "PENDING" && hasFile(item, now);
export const canRelaunch = (item, now = Date.now()) =>
  ["EXPIRED", "FAILED"].includes(statusOf(item, now)) || isFileGone(item, now);

/** A link that ends this soon is perhaps not given out any more, though the file is there. */
const LINK_IS_ENDING = 5000;

/** Tells of every export that changes ("change") and of a pending one that ends ("end"). */
export class Exports extends EventTarget {
  #known = new Map();
  /** Whose file was deleted before its time. Lists do not say it, so it is kept beside what they say. */
  #deleted = new Set();
  #latest = null;

  get(id) {
    return this.#known.get(id);
  }

  /** The newest export, if there is any and it is known; only that one can be pending. */
  get latest() {
    return this.#known.get(this.#latest) ?? null;
  }

  get pending() {
    return this.latest?.status === "PENDING" ? this.latest : null;
  }

  /** Takes an export as the server told it. What was told out of turn is dropped. */
  put(item) {
    const before = this.#known.get(item.exportId);
    if (before && before.updatedAt > item.updatedAt) return;
    const known = { ...item, isFileDeleted: this.#deleted.has(item.exportId) };
    this.#known.set(item.exportId, known);
    // Ids begin with their time.
    if (this.#latest === null || item.exportId > this.#latest) this.#latest = item.exportId;
    this.dispatchEvent(new CustomEvent("change", { detail: known }));
    if (before?.status === "PENDING" && item.status !== "PENDING") {
      this.dispatchEvent(new CustomEvent("end", { detail: known }));
    }
  }

  /** Takes an export's detail: READY without a link to download means that the file was deleted. */
  putDetail(item) {
    if (item.downloadUrl) this.#deleted.delete(item.exportId);
    else if (item.status === "READY" && Date.parse(item.linkExpiresAt) > Date.now() + LINK_IS_ENDING) this.#deleted.add(item.exportId);
    this.put(item);
  }

  /** Takes an export whose e-mail was sent again just now: its file is there. */
  putResent(item) {
    this.#deleted.delete(item.exportId);
    this.put(item);
  }

  /** The server found the file of this export deleted. */
  loseFile(id) {
    this.#deleted.add(id);
    this.put(this.#known.get(id));
  }
}
