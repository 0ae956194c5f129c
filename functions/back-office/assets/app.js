// The entrance: who is connected, and what surrounds the page.

import { fill, h, icon } from "./dom.js";
import { Api, explain } from "./api.js";
import { Connection } from "./connection.js";
import { closeAll } from "./dialogs.js";
import { PayoutsPage } from "./payouts.js";
import { forgetKey, refusal, signIn, storedKey } from "./sign-in.js";

const root = document.getElementById("app");
let leave = () => {};

function showSignIn(message) {
  leave();
  leave = () => {};
  closeAll();
  const { screen, focus } = signIn({ message, onSignedIn: enter });
  fill(root, screen);
  focus();
}

function signOut(message) {
  forgetKey();
  showSignIn(message);
}

/** Shows the page to the holder of a key. */
function enter(key, caller) {
  let isIn = true;
  const api = new Api(key, (error) => {
    if (!isIn) return;
    const reason = refusal(error);
    // A key that was good is not any more: revoked, most likely.
    if (reason) signOut({ tone: "bad", icon: "fault", text: reason });
    else connection.heard(error);
  });
  const connection = new Connection(() => api.caller());
  const page = new PayoutsPage(api, caller);
  connection.addEventListener("back", () => page.refresh());
  leave = () => {
    isIn = false;
    connection.stop();
    page.stop();
  };
  fill(root, h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the page"), frame(caller), page.element, connection.element);
  page.element.focus({ preventScroll: true });
  page.start();
}

/** The address is the view's: a jump must not change it. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function frame({ name, email, tenantId }) {
  const initials = name.split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("").toUpperCase();
  return h(
    "header",
    { class: "frame" },
    h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("download")), "Back Office"),
    h(
      "nav",
      { "aria-label": "Back office" },
      h("p", { class: "eyebrow", id: "section" }, "DJUST Pay"),
      h("ul", { "aria-labelledby": "section" }, h("li", {}, h("a", { href: location.pathname, "aria-current": "page" }, icon("bank"), "Marketplace Payouts"))),
    ),
    h(
      "section",
      { class: "who", "aria-label": "Connected user" },
      h("span", { class: "avatar", "aria-hidden": "true" }, initials),
      h("div", { class: "who-words" }, h("p", { class: "who-name" }, name), h("p", { class: "who-mail", title: email }, email), h("p", { class: "who-tenant" }, "Tenant ", h("strong", {}, tenantId))),
      h("button", { type: "button", class: "button quiet small", onclick: () => signOut({ tone: "good", icon: "check", text: "You are signed out." }) }, icon("leave"), h("span", {}, "Sign out")),
    ),
  );
}

async function begin() {
  const key = storedKey();
  if (!key) return showSignIn();
  try {
    enter(key, await new Api(key).caller());
  } catch (error) {
    const reason = refusal(error);
    if (reason) return signOut({ tone: "bad", icon: "fault", text: reason });
    showUnreachable(error);
  }
}

/** The tab has a key, but nobody to show it to. */
function showUnreachable(error) {
  const again = h("button", { type: "button", class: "button primary", onclick: begin }, "Try again");
  fill(root, h("main", { class: "sign-in" }, h("div", { class: "card state", role: "alert" }, icon("unplugged"), h("h1", {}, "The back office cannot be opened"), h("p", { class: "muted" }, explain(error)), again)));
  again.focus();
}

begin();
