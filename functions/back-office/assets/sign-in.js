// The way in: an API key, kept for this tab's session and nowhere else.

import { fill, freshId, h, icon } from "./dom.js";
import { Api, Problem, explain } from "./api.js";
import { notice } from "./pieces.js";

const STORED = "backOfficeApiKey";

export const storedKey = () => sessionStorage.getItem(STORED);
export const forgetKey = () => sessionStorage.removeItem(STORED);

/** Why a key does not let its holder in, if that is what is wrong. */
export function refusal(error) {
  if (!(error instanceof Problem)) return null;
  if (error.status === 401) return "This API key is not known, or it was revoked. Ask your administrator for a new one.";
  if (error.status === 403) return "This API key is not an operator’s. Only operators can use the back office.";
  return null;
}

/** The screen. `message` says why the user is here again; `onSignedIn` gets the key and whose it is. */
export function signIn({ message, onSignedIn }) {
  const trouble = h("div", { class: "trouble", role: "alert", id: freshId("trouble") }, message && notice(message.tone, message.icon, h("p", {}, message.text)));
  const input = h("input", {
    type: "password", id: freshId("key"), autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    required: true, "aria-describedby": trouble.id,
  });
  const show = h("input", { type: "checkbox", id: freshId("show"), onchange: (event) => (input.type = event.target.checked ? "text" : "password") });
  const button = h("button", { type: "submit", class: "button primary wide" }, "Sign in");

  function complain(text) {
    fill(trouble, notice("bad", "fault", h("p", {}, text)));
    input.setAttribute("aria-invalid", "true");
    input.focus();
    input.select();
  }

  async function submit(event) {
    event.preventDefault();
    if (button.disabled) return;
    const key = input.value.trim();
    if (!key) return complain("Enter your API key.");
    // Nothing else can stand in a header, so it cannot be a key either.
    if (!/^[\x21-\x7e]+$/.test(key)) return complain("An API key has letters and digits only. Copy it again.");
    fill(trouble);
    input.removeAttribute("aria-invalid");
    button.disabled = true;
    fill(button, "Signing in…");
    try {
      const caller = await new Api(key).caller();
      sessionStorage.setItem(STORED, key);
      return onSignedIn(key, caller);
    } catch (error) {
      complain(refusal(error) ?? explain(error));
    } finally {
      button.disabled = false;
      fill(button, "Sign in");
    }
  }

  const screen = h(
    "main",
    { class: "sign-in" },
    h(
      "form",
      { class: "card", novalidate: true, onsubmit: submit },
      h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("download")), "Back Office"),
      h("h1", {}, "Sign in"),
      h("p", { class: "muted" }, "With the API key of your operator account. It is kept until you sign out or close this tab."),
      h("div", { class: "field" }, h("label", { for: input.id }, "API key"), input, h("label", { class: "check", for: show.id }, show, "Show the key")),
      trouble,
      button,
    ),
  );
  return { screen, focus: () => input.focus() };
}
