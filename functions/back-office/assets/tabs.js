// Shares the session between the tabs of one browser. A new tab asks the open ones for the API key, so that it is never
// stored outside of a tab. Signing out in one tab signs out those with the same key.

const channel = new BroadcastChannel("back-office session");

/** `key` returns this tab's API key, or null. `onKey` receives that of another tab, `onSignOut` is called after its sign-out. */
export function joinTabs({ key, onKey, onSignOut }) {
  const tab = crypto.randomUUID();
  channel.onmessage = ({ data }) => {
    if (data.asks && key()) channel.postMessage({ to: data.asks, key: key() });
    if (data.to === tab && !key()) onKey(data.key);
    if (data.signedOut && data.signedOut === key()) onSignOut();
  };
  if (!key()) channel.postMessage({ asks: tab });
}

export const tellSignOut = (key) => channel.postMessage({ signedOut: key });
