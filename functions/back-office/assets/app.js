// Entry point: session, sidebar and page.

import { fill, h, icon } from "./dom.js";
import { Api, errorText } from "./api.js";
import { Connection } from "./connection.js";
import { closeAll } from "./dialogs.js";
import { openDrafts } from "./drafts.js";
import { ExportsPage } from "./exports-page.js";
import { pageTitle } from "./format.js";
import { helpPage } from "./help.js";
import { forgetKey, rejectionText, signIn, storeKey, storedKey } from "./sign-in.js";
import { joinTabs, tellSignOut } from "./tabs.js";
import { TYPES } from "./types.js";
import { helpAddress, readView, sectionAddress } from "./view.js";

const root = document.getElementById("app");
let closePage = () => {};

function showSignIn(message) {
  closePage();
  closePage = () => {};
  closeAll();
  const { screen, focus } = signIn({ message, onSignedIn: openPage });
  fill(root, screen);
  focus();
}

/** Ends the session because of a rejected key. What the user has entered is kept. */
function endSession(reason) {
  forgetKey();
  showSignIn({ tone: "bad", icon: "error", text: reason });
}

function signOut() {
  tellSignOut(storedKey());
  endSignedOut("You are signed out.");
}

/** Leaves nothing of the session behind, not even in the URL. */
function endSignedOut(text) {
  sessionStorage.clear();
  window.history.replaceState(null, "", sectionAddress(readView().type));
  showSignIn({ tone: "good", icon: "check", text });
}

function openPage(key, caller) {
  openDrafts(caller);
  let isOpen = true;
  const { type, isHelp } = readView();
  const onResult = (error) => {
    if (!isOpen) return;
    const reason = rejectionText(error);
    // The key was probably revoked during the session.
    if (reason) endSession(reason);
    else connection.record(error);
  };
  const api = new Api(key, { type, onResult });
  const connection = new Connection(() => api.caller());
  const page = isHelp ? { element: helpPage(type), start() {}, refresh() {}, stop() {} } : new ExportsPage(api, caller, type);
  connection.addEventListener("restored", () => page.refresh());
  closePage = () => {
    isOpen = false;
    connection.stop();
    page.stop();
  };
  fill(root, h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to main content"), frame(caller, type, isHelp), page.element, connection.element);
  page.element.focus({ preventScroll: true });
  page.start();
}

/** Moves the focus without changing the URL, which holds the view. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function frame({ name, email, tenantId }, type, isHelp) {
  const initials = name.split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("").toUpperCase();
  return h(
    "header",
    { class: "frame" },
    h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("download")), "Back Office"),
    h(
      "nav",
      { "aria-label": "Back office" },
      h("p", { class: "eyebrow", id: "section" }, "DJUST Pay"),
      h("ul", { "aria-labelledby": "section" }, TYPES.map((each) => navigation(sectionAddress(each), each === type && !isHelp, "bank", pageTitle(each))), navigation(helpAddress(type), isHelp, "info", "Help")),
    ),
    h(
      "section",
      { class: "user", "aria-label": "Signed-in user" },
      h("span", { class: "avatar", "aria-hidden": "true" }, initials),
      h("div", { class: "user-text" }, h("p", { class: "user-name" }, name), h("p", { class: "user-mail", title: email }, email), h("p", { class: "user-tenant" }, "Tenant ", h("strong", {}, tenantId))),
      h("button", { type: "button", class: "button quiet small", onclick: signOut }, icon("sign-out"), h("span", {}, "Sign out")),
    ),
  );
}

const navigation = (href, isCurrent, iconName, label) => h("li", {}, h("a", { href, "aria-current": isCurrent && "page" }, icon(iconName), label));

async function start() {
  const key = storedKey();
  try {
    openPage(key, await new Api(key).caller());
  } catch (error) {
    const reason = rejectionText(error);
    if (reason) return endSession(reason);
    showLoadError(error);
  }
}

/** The tab has a key that could not be checked. */
function showLoadError(error) {
  const retry = h("button", { type: "button", class: "button primary", onclick: start }, "Try again");
  fill(root, h("main", { class: "sign-in" }, h("div", { class: "card state", role: "alert" }, icon("unplugged"), h("h1", {}, "The back office cannot be opened"), h("p", { class: "muted" }, errorText(error)), retry)));
  retry.focus();
}

/** How long a new tab waits for the key of another one before it asks the user. A later key is used, too. */
const OTHER_TABS_MS = 100;

joinTabs({
  key: storedKey,
  onKey(key) {
    // The user may be entering another one.
    if (document.querySelector("input")?.value) return;
    storeKey(key);
    start();
  },
  onSignOut: () => endSignedOut("You signed out in another tab."),
});
if (storedKey()) start();
else setTimeout(() => storedKey() || showSignIn(), OTHER_TABS_MS);
