// What the user has entered into a dialog and not sent yet. It survives closing the dialog, a reload and the end of the
// session, until the user signs out or another one signs in.

const STORED_DRAFTS = "backOfficeDrafts";

let user;

const stored = () => JSON.parse(sessionStorage.getItem(STORED_DRAFTS));
const drafts = () => stored()?.drafts ?? {};

/** Deletes the drafts of other users. */
export function openDrafts({ tenantId, email }) {
  user = `${tenantId} ${email}`;
  if (stored()?.user !== user) sessionStorage.removeItem(STORED_DRAFTS);
}

export const readDraft = (name) => drafts()[name];

/** Stores a draft, or deletes it if it is undefined. */
export function writeDraft(name, draft) {
  const all = { ...drafts(), [name]: draft };
  if (Object.values(all).some(Boolean)) sessionStorage.setItem(STORED_DRAFTS, JSON.stringify({ user, drafts: all }));
  else sessionStorage.removeItem(STORED_DRAFTS);
}
