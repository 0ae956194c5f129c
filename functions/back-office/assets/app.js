// Entry point: session, sidebar and page.

import { fill, h, icon } from "./dom.js";
import { Api, errorText } from "./api.js";
import { Connection } from "./connection.js";
import { closeAll } from "./dialogs.js";
import { ExportsPage } from "./exports-page.js";
import { pageTitle } from "./format.js";
import { forgetKey, rejectionText, signIn, storedKey } from "./sign-in.js";
import { TYPES } from "./types.js";
import { readView, sectionAddress } from "./view.js";

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

function signOut(message) {
  forgetKey();
  showSignIn(message);
}

function openPage(key, caller) {
  let isOpen = true;
  const { type } = readView();
  const onResult = (error) => {
    if (!isOpen) return;
    const reason = rejectionText(error);
    // The key was probably revoked during the session.
    if (reason) signOut({ tone: "bad", icon: "error", text: reason });
    else connection.record(error);
  };
  const api = new Api(key, { type, onResult });
  const connection = new Connection(() => api.caller());
  const page = new ExportsPage(api, caller, type);
  connection.addEventListener("restored", () => page.refresh());
  closePage = () => {
    isOpen = false;
    connection.stop();
    page.stop();
  };
  fill(root, h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to main content"), frame(caller, type), page.element, connection.element);
  page.element.focus({ preventScroll: true });
  page.start();
}

/** Moves the focus without changing the URL, which holds the view. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function frame({ name, email, tenantId }, type) {
  const initials = name.split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("").toUpperCase();
  return h(
    "header",
    { class: "frame" },
    h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("download")), "Back Office"),
    h(
      "nav",
      { "aria-label": "Back office" },
      h("p", { class: "eyebrow", id: "section" }, "DJUST Pay"),
      h("ul", { "aria-labelledby": "section" }, TYPES.map((each) => h("li", {}, h("a", { href: sectionAddress(each), "aria-current": each === type && "page" }, icon("bank"), pageTitle(each))))),
    ),
    h(
      "section",
      { class: "user", "aria-label": "Signed-in user" },
      h("span", { class: "avatar", "aria-hidden": "true" }, initials),
      h("div", { class: "user-text" }, h("p", { class: "user-name" }, name), h("p", { class: "user-mail", title: email }, email), h("p", { class: "user-tenant" }, "Tenant ", h("strong", {}, tenantId))),
      h("button", { type: "button", class: "button quiet small", onclick: () => signOut({ tone: "good", icon: "check", text: "You are signed out." }) }, icon("sign-out"), h("span", {}, "Sign out")),
    ),
  );
}

async function start() {
  const key = storedKey();
  if (!key) return showSignIn();
  try {
    openPage(key, await new Api(key).caller());
  } catch (error) {
    const reason = rejectionText(error);
    if (reason) return signOut({ tone: "bad", icon: "error", text: reason });
    showLoadError(error);
  }
}

/** The tab has a key that could not be checked. */
function showLoadError(error) {
  const retry = h("button", { type: "button", class: "button primary", onclick: start }, "Try again");
  fill(root, h("main", { class: "sign-in" }, h("div", { class: "card state", role: "alert" }, icon("unplugged"), h("h1", {}, "The back office cannot be opened"), h("p", { class: "muted" }, errorText(error)), retry)));
  retry.focus();
}

start();
