// The dialogs that launch an export and resend its e-mail. Native modal dialogs keep the focus inside, close on Escape and
// return the focus when closed.

import { fill, uniqueId, h, icon, nameOf } from "./dom.js";
import { announce } from "./announce.js";
import { ApiError, NetworkError, errorText } from "./api.js";
import { CcField } from "./cc-field.js";
import { isSame } from "./addresses.js";
import { GONE_ADVICE } from "./exports.js";
import { notice, recipientsText } from "./pieces.js";

/** Shows a modal dialog and removes it when it closes. */
export function show(dialog) {
  const opener = document.activeElement;
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (!opener.isConnected) focusReplacement(opener);
  });
  dialog.showModal();
}

/** Focuses the button that replaced the opener when the page was redrawn: it has the same name. */
function focusReplacement(opener) {
  const top = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.getElementById("main");
  const buttons = [...(top?.querySelectorAll("button") ?? [])];
  (buttons.find((button) => nameOf(button) === nameOf(opener)) ?? top)?.focus();
}

export function closeAll() {
  for (const dialog of [...document.querySelectorAll("dialog[open]")].reverse()) dialog.close();
}

/** A dialog's title and close button. */
export function heading(dialog, text, ...extra) {
  const title = h("h2", { id: uniqueId("title"), tabindex: "-1" }, text);
  dialog.setAttribute("aria-labelledby", title.id);
  const close = h("button", { type: "button", class: "button quiet icon-only", "aria-label": "Close", title: "Close", onclick: () => dialog.close() }, icon("close"));
  return h("div", { class: "dialog-head" }, h("div", {}, title, extra), close);
}

/**
 * Asks for the recipients and launches an export. `cc` is the initial list. `onLaunched` receives the new export,
 * `onPending` the ID of the export that is still pending.
 */
export function launchDialog({ api, caller, type, cc = [], onLaunched, onPending }) {
  // Repeating the request with the same list uses the same idempotency key, so it cannot launch a second export.
  let attempt = { list: null, key: null };
  mailForm({
    title: `Export ${type.title.toLowerCase()}`,
    lead: [`Exports all ${type.plural} of `, h("strong", {}, caller.tenantId), " up to now as a CSV file. This takes from a few seconds to several minutes. You do not have to wait."],
    confirm: "Confirm export",
    busy: "Launching…",
    caller,
    cc,
    async send(list) {
      const requested = JSON.stringify(list);
      if (attempt.list !== requested) attempt = { list: requested, key: crypto.randomUUID() };
      const item = await api.launch(list, attempt.key);
      announce(`Export launched. The file will be sent to ${recipientsText(item.recipients)}.`, "good");
      onLaunched(item);
    },
    onRejected(error, form) {
      if (!error.has("EXPORT_ALREADY_PENDING")) return false;
      const id = error.location?.split("/").pop();
      const showPending = () => {
        form.close();
        onPending(id);
      };
      form.block(
        notice("waiting", "clock", h("p", {}, h("strong", {}, "An export is already pending."), " Only one export can be pending at a time. Wait until it finishes, then launch the next one."),
          id && h("button", { type: "button", class: "button small", onclick: showPending }, "Show the pending export")),
      );
      return true;
    },
  });
}

/**
 * Asks for the recipients and resends an export's e-mail. `onSent` receives the export. `onGone` is called if its file was
 * deleted, and `onRelaunch` if the user then wants a new one.
 */
export function resendDialog({ api, caller, item, onSent, onGone, onRelaunch }) {
  const { to, cc } = item.recipients;
  const previous = isSame(to, caller.email) ? null : to;
  mailForm({
    title: "Resend e-mail",
    lead: ["Sends the same file with a new download link. Nothing is exported again."],
    confirm: "Send e-mail",
    busy: "Sending…",
    caller,
    cc,
    // The main recipient is always the caller, so the previous one would not receive this e-mail.
    suggestion: previous && !cc.some((address) => isSame(address, previous)) ? previous : null,
    async send(list) {
      const isUnchanged = list.length === cc.length && list.every((address, index) => address === cc[index]);
      const sent = await api.resend(item.exportId, isUnchanged ? null : list);
      announce(`E-mail sent to ${recipientsText(sent.recipients)}.`, "good");
      onSent(sent);
    },
    onRejected(error, form) {
      if (!error.has("EXPORT_FILE_GONE")) return false;
      onGone();
      const relaunch = () => {
        form.close();
        onRelaunch();
      };
      form.block(
        notice("neutral", "hourglass", h("p", {}, h("strong", {}, "The file was deleted."), ` ${GONE_ADVICE}`),
          h("button", { type: "button", class: "button small", onclick: relaunch }, "Relaunch")),
      );
      return true;
    },
  });
}

function mailForm({ title, lead, confirm, busy, caller, cc, suggestion, send, onRejected }) {
  const dialog = h("dialog", { class: "modal" });
  const summary = h("p", { class: "summary", id: uniqueId("summary") });
  const formError = h("div", { class: "form-error", role: "alert" });
  const field = new CcField(caller.email, cc, () => {
    fill(formError);
    button.disabled = false;
    summarise();
  });
  const button = h("button", { type: "submit", class: "button primary", "aria-describedby": summary.id }, confirm);
  const to = h("div", { class: "field" }, h("span", { class: "label" }, "To"), h("p", { class: "to" }, icon("mail"), h("span", {}, caller.email), h("span", { class: "muted" }, "you")));
  const suggest = suggestion && h("p", { class: "hint" }, `${suggestion} received the first e-mail. `,
    h("button", { type: "button", class: "link", onclick: (event) => { field.add(suggestion); event.currentTarget.parentElement.remove(); field.focus(); } }, "Add as CC"));

  function summarise() {
    fill(summary, icon("mail"), h("span", {}, "The file will be sent to ", h("strong", {}, recipientsText({ to: caller.email, cc: field.validAddresses })), "."));
  }

  const form = {
    close: () => dialog.close(),
    /** Disables the form and shows why. */
    block(...content) {
      button.disabled = true;
      fill(formError, content);
    },
  };

  async function submit(event) {
    event.preventDefault();
    field.commit();
    if (button.disabled) return;
    if (field.hasErrors) {
      fill(formError, notice("bad", "error", h("p", {}, "Correct or remove the marked addresses first.")));
      field.focus();
      return;
    }
    fill(formError);
    fill(button, busy);
    button.disabled = true;
    try {
      await send(field.addresses);
      dialog.close();
      return;
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof NetworkError)) throw error;
      button.disabled = false;
      if (!dialog.isConnected || (error instanceof ApiError && onRejected(error, form))) return;
      const ccErrors = (error.errors ?? []).filter(({ field: name }) => name?.startsWith("cc"));
      if (ccErrors.length) {
        field.showErrors(ccErrors);
        field.focus();
      } else {
        fill(formError, notice("bad", "error", h("p", {}, errorText(error))));
      }
    } finally {
      fill(button, confirm);
    }
  }

  dialog.append(
    heading(dialog, title),
    h(
      "form",
      { class: "dialog-body", novalidate: true, onsubmit: submit },
      h("p", { class: "lead" }, lead),
      to,
      field.element,
      suggest,
      summary,
      formError,
      h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"), button),
    ),
  );
  summarise();
  show(dialog);
  field.focus();
}
