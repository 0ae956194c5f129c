// The dialogs that launch an export and resend its e-mail. Native modal dialogs keep the focus inside, close on Escape and
// return the focus when closed.

import { fill, uniqueId, h, icon, nameOf, refill } from "./dom.js";
import { announce } from "./announce.js";
import { ApiError, NetworkError, errorText } from "./api.js";
import { CcField } from "./cc-field.js";
import { isSame } from "./addresses.js";
import { readDraft, writeDraft } from "./drafts.js";
import { GONE_ADVICE, STATUSES, canCancel, statusOf } from "./exports.js";
import { OptionsField } from "./options-field.js";
import { notice, recipientsText, remark } from "./pieces.js";

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
  const close = h("button", { type: "button", class: "button quiet icon-only closes", "aria-label": "Close", title: "Close", onclick: () => dialog.close() }, icon("close"));
  return h("div", { class: "dialog-head" }, h("div", {}, title, extra), close);
}

/**
 * Asks for recipients and options and launches an export. `item` is the export to launch again, or null. `onLaunched`
 * receives the new export. `onPending` receives the ID of the export that is still pending and loads it; `open` shows it.
 */
export function launchDialog({ api, caller, type, exports, item, onLaunched, onPending, open }) {
  // Repeating the same request uses the same idempotency key, so it cannot launch a second export.
  let attempt = { body: null, key: null };
  mailForm({
    title: `Export ${type.title.toLowerCase()}`,
    lead: ["Exports rows of ", h("strong", {}, caller.tenantId), " as a file. This takes from a few seconds to several minutes. You do not have to wait."],
    confirm: "Confirm export",
    busy: "Launching…",
    caller,
    cc: item ? ccFor(caller, item) : [],
    draftName: item ? `relaunch ${item.exportId}` : `launch ${type.slug}`,
    makeOptions: (onChange) => new OptionsField(type, item, onChange),
    async send(cc, options) {
      const body = { cc, ...options };
      const requested = JSON.stringify(body);
      if (attempt.body !== requested) attempt = { body: requested, key: crypto.randomUUID() };
      const launched = await api.launch(body, attempt.key);
      announce(`Export launched. A link will be sent to ${recipientsText(launched.recipients)}.`, "good");
      onLaunched(launched);
    },
    onRejected(error, form) {
      if (!error.has("EXPORT_ALREADY_PENDING")) return false;
      const id = error.location?.split("/").pop();
      const showPending = () => {
        form.close();
        open(id);
      };
      form.block(
        notice("waiting", "clock", h("p", {}, h("strong", {}, "An export is already pending."), " Only one export of a type can be pending at a time. What you entered is kept: you can launch it when the pending export ends."),
          id && h("button", { type: "button", class: "button small", onclick: showPending }, "Show the pending export")),
      );
      const onChange = ({ detail }) => {
        if (detail.exportId !== id || detail.status === "PENDING") return;
        exports.removeEventListener("change", onChange);
        form.unblock(notice("good", "check", h("p", {}, h("strong", {}, "The pending export has ended."), " You can launch yours now.")));
      };
      exports.addEventListener("change", onChange);
      onPending(id);
      return true;
    },
  });
}

/** The CC recipients of an export, without the caller. */
const ccFor = (caller, item) => item.recipients.cc.filter((address) => !isSame(address, caller.email));

/**
 * Asks for the recipients and resends an export's e-mail. `onSent` receives the export. `onGone` is called if its file was
 * deleted, and `onRelaunch` if the user then wants a new one.
 */
export function resendDialog({ api, caller, item, onSent, onGone, onRelaunch }) {
  const { to } = item.recipients;
  const cc = ccFor(caller, item);
  const previous = isSame(to, caller.email) ? null : to;
  mailForm({
    title: "Resend e-mail",
    lead: ["Sends a new download link to the same file. Nothing is exported again."],
    confirm: "Send e-mail",
    busy: "Sending…",
    caller,
    cc,
    draftName: `resend ${item.exportId}`,
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

/** Asks whether to cancel a pending export, and cancels it. If the export has ended, shows what it has become. */
export function cancelDialog({ api, exports, item }) {
  const dialog = h("dialog", { class: "modal", "aria-busy": "false" });
  const body = h("div", { class: "dialog-body" });
  const close = (label) => h("button", { type: "button", class: "button closes", onclick: () => dialog.close() }, label);

  function draw(error) {
    const current = exports.get(item.exportId);
    if (!canCancel(current)) {
      const text = current.status === "PENDING" ? "The file is complete and its link is being sent." : `${STATUSES[statusOf(current)].label}: ${remark(current)}.`;
      refill(body, notice("neutral", "info", h("p", {}, h("strong", {}, "The export can no longer be cancelled. "), text)), h("div", { class: "dialog-foot" }, close("Close")));
      return;
    }
    const confirm = h("button", { type: "button", class: "button danger", onclick: () => submit(confirm) }, "Cancel the export");
    refill(
      body,
      h("p", { class: "lead" }, "No file will be made and no link will be sent. Then the next export can be launched."),
      h("div", { class: "form-error", role: "alert" }, error && notice("bad", "error", h("p", {}, error))),
      h("div", { class: "dialog-foot" }, close("Keep the export"), confirm),
    );
  }

  async function submit(button) {
    button.disabled = true;
    fill(button, "Cancelling…");
    lock(dialog, true);
    try {
      exports.put(await api.cancel(item.exportId));
      dialog.close();
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof NetworkError)) throw error;
      if (error instanceof ApiError && error.has("EXPORT_NOT_CANCELLABLE")) exports.put(await api.detail(item.exportId).catch(() => item));
      draw(errorText(error));
    } finally {
      lock(dialog, false);
    }
  }

  const onChange = ({ detail }) => detail.exportId === item.exportId && !canCancel(detail) && !dialog.hasAttribute("data-locked") && draw();
  exports.addEventListener("change", onChange);
  dialog.addEventListener("close", () => exports.removeEventListener("change", onChange));
  dialog.addEventListener("cancel", (event) => dialog.hasAttribute("data-locked") && event.preventDefault());
  dialog.append(heading(dialog, "Cancel the export?"), body);
  draw();
  show(dialog);
  body.querySelector(".closes").focus();
}

/** Keeps a dialog open while a request is running: closing it would not cancel the request. */
function lock(dialog, isLocked) {
  dialog.toggleAttribute("data-locked", isLocked);
  dialog.setAttribute("closedby", isLocked ? "none" : "closerequest");
  for (const button of dialog.querySelectorAll(".closes")) button.disabled = isLocked;
}

function mailForm({ title, lead, confirm, busy, caller, cc, suggestion, makeOptions, draftName, send, onRejected }) {
  const dialog = h("dialog", { class: "modal" });
  const summary = h("p", { class: "summary", id: uniqueId("summary") });
  const formError = h("div", { class: "form-error", role: "alert" });
  let isBlocked = false;
  const field = new CcField(caller.email, { cc, text: "" }, () => onChange());
  const options = makeOptions?.(() => onChange());
  const button = h("button", { type: "submit", class: "button primary", "aria-describedby": summary.id }, confirm);
  const to = h("div", { class: "field" }, h("span", { class: "label" }, "To"), h("p", { class: "to" }, icon("mail"), h("span", {}, caller.email), h("span", { class: "muted" }, "you")));
  const suggest = suggestion && h("p", { class: "hint" }, `${suggestion} received the first e-mail. `,
    h("button", { type: "button", class: "link", onclick: (event) => { field.add(suggestion); event.currentTarget.parentElement.remove(); field.focus(); } }, "Add as CC"));
  const entered = () => ({ cc: field.draft, options: options?.draft });
  const initial = structuredClone(entered());
  const restored = h("p", { class: "hint", hidden: true }, "This is what you entered before. ", h("button", { type: "button", class: "link", onclick: () => { restore(initial); restored.hidden = true; field.focus(); } }, "Start over"));

  function restore(draft) {
    field.restore(draft.cc);
    options?.restore(draft.options);
    onChange();
  }

  function onChange() {
    const isChanged = JSON.stringify(entered()) !== JSON.stringify(initial);
    writeDraft(draftName, isChanged ? entered() : undefined);
    if (!isBlocked) fill(formError);
    fill(summary, icon("mail"), h("span", {}, "A link will be sent to ", h("strong", {}, recipientsText({ to: caller.email, cc: field.validAddresses })), "."));
  }

  const form = {
    close: () => dialog.close(),
    /** Disables the form and shows why. */
    block(...content) {
      isBlocked = button.disabled = true;
      fill(formError, content);
    },
    /** Enables the form again and shows why. */
    unblock(...content) {
      isBlocked = button.disabled = false;
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
    if (options?.check()) return;
    fill(formError);
    fill(button, busy);
    button.disabled = true;
    lock(dialog, true);
    try {
      await send(field.addresses, options?.body);
      writeDraft(draftName, undefined);
      dialog.close();
      return;
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof NetworkError)) throw error;
      button.disabled = false;
      if (!dialog.isConnected || (error instanceof ApiError && onRejected(error, form))) return;
      const errors = error.errors ?? [];
      const ccErrors = errors.filter(({ field: name }) => name?.startsWith("cc"));
      if (ccErrors.length) {
        field.showErrors(ccErrors);
        field.focus();
      }
      if (!options?.showErrors(errors) && !ccErrors.length) {
        fill(formError, notice("bad", "error", h("p", {}, errorText(error))));
        button.focus();
      }
    } finally {
      fill(button, confirm);
      lock(dialog, false);
    }
  }

  dialog.addEventListener("cancel", (event) => dialog.hasAttribute("data-locked") && event.preventDefault());
  dialog.append(
    heading(dialog, title),
    h(
      "form",
      { class: "dialog-body", novalidate: true, onsubmit: submit },
      h("p", { class: "lead" }, lead),
      restored,
      to,
      field.element,
      suggest,
      options?.element,
      summary,
      formError,
      h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button closes", onclick: () => dialog.close() }, "Cancel"), button),
    ),
  );
  const draft = readDraft(draftName) ?? initial;
  restored.hidden = JSON.stringify(draft) === JSON.stringify(initial);
  restore(draft);
  show(dialog);
  field.focus();
}
