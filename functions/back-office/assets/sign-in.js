// The sign-in screen. The API key is stored for the tab's session only.

import { fill, uniqueId, h, icon } from "./dom.js";
import { Api, ApiError, errorText } from "./api.js";
import { notice } from "./pieces.js";

const STORED_KEY = "backOfficeApiKey";

export const storedKey = () => sessionStorage.getItem(STORED_KEY);
export const storeKey = (key) => sessionStorage.setItem(STORED_KEY, key);
export const forgetKey = () => sessionStorage.removeItem(STORED_KEY);

/** Returns the message for a rejected key, or null for any other error. */
export function rejectionText(error) {
  if (!(error instanceof ApiError)) return null;
  if (error.status === 401) return "This API key is unknown, expired or revoked. Ask your administrator for a new one.";
  if (error.status === 403) return "This API key does not belong to an operator. Only operators can use the back office.";
  return null;
}

/** `message` explains why the session ended. `onSignedIn` receives the key and its caller. */
export function signIn({ message, onSignedIn }) {
  const formError = h("div", { class: "form-error", role: "alert", id: uniqueId("formError") }, message && notice(message.tone, message.icon, h("p", {}, message.text)));
  const input = h("input", {
    type: "password", id: uniqueId("key"), autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    required: true, "aria-describedby": formError.id,
  });
  const show = h("input", { type: "checkbox", id: uniqueId("show"), onchange: (event) => (input.type = event.target.checked ? "text" : "password") });
  const button = h("button", { type: "submit", class: "button primary wide" }, "Sign in");

  function showError(text) {
    fill(formError, notice("bad", "error", h("p", {}, text)));
    input.setAttribute("aria-invalid", "true");
    input.focus();
    input.select();
  }

  async function submit(event) {
    event.preventDefault();
    if (button.disabled) return;
    const key = input.value.trim();
    if (!key) return showError("Enter your API key.");
    // A header cannot contain any other character.
    if (!/^[\x21-\x7e]+$/.test(key)) return showError("An API key contains only letters and digits. Copy it again.");
    fill(formError);
    input.removeAttribute("aria-invalid");
    button.disabled = true;
    fill(button, "Signing in…");
    try {
      const caller = await new Api(key).caller();
      storeKey(key);
      return onSignedIn(key, caller);
    } catch (error) {
      showError(rejectionText(error) ?? errorText(error));
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
      h("p", { class: "muted" }, "Use the API key of your operator account. It is kept until you sign out or close the tabs of the back office."),
      h("div", { class: "field" }, h("label", { for: input.id }, "API key"), input, h("label", { class: "check", for: show.id }, show, "Show the key")),
      formError,
      button,
    ),
  );
  return { screen, focus: () => input.focus() };
}
