// Dialogs: to launch an export, to send its e-mail again. The browser's own modal dialogs keep the focus inside, close on
// Escape, and give the focus back to where it was.

import { fill, freshId, h, icon, nameOf } from "./dom.js";
import { say } from "./announce.js";
import { Problem, Unreachable, explain } from "./api.js";
import { CcField } from "./cc-field.js";
import { isSame } from "./addresses.js";
import { GONE_ADVICE } from "./exports.js";
import { notice, recipientsText } from "./pieces.js";

/** Shows a modal dialog, and removes it when it closes. */
export function show(dialog) {
  const opener = document.activeElement;
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (!opener.isConnected) focusLike(opener);
  });
  dialog.showModal();
}

/** The opener was drawn anew meanwhile: the one that is called the same has its place. */
function focusLike(opener) {
  const top = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.getElementById("main");
  const buttons = [...(top?.querySelectorAll("button") ?? [])];
  (buttons.find((button) => nameOf(button) === nameOf(opener)) ?? top)?.focus();
}

export function closeAll() {
  for (const dialog of [...document.querySelectorAll("dialog[open]")].reverse()) dialog.close();
}

/** The upper end of a dialog: its name, and the button that closes it. */
export function heading(dialog, text, ...more) {
  const title = h("h2", { id: freshId("title"), tabindex: "-1" }, text);
  dialog.setAttribute("aria-labelledby", title.id);
  const close = h("button", { type: "button", class: "button quiet icon-only", "aria-label": "Close", title: "Close", onclick: () => dialog.close() }, icon("close"));
  return h("div", { class: "dialog-head" }, h("div", {}, title, more), close);
}

/**
 * Asks for the recipients and launches an export. `cc` is there to begin with. `onLaunched` gets the export,
 * `onPending` the id of the one that is in the way.
 */
export function launch({ api, caller, cc = [], onLaunched, onPending }) {
  // For as long as the list is the same, a second press is the same request: the server makes one export of both.
  let attempt = { list: null, key: null };
  mailForm({
    title: "Export marketplace payouts",
    lead: ["A CSV file with all payouts of ", h("strong", {}, caller.tenantId), " up to now. Making it takes from seconds to minutes; you need not wait."],
    confirm: "Confirm export",
    busy: "Launching…",
    caller,
    cc,
    async send(list) {
      const asked = JSON.stringify(list);
      if (attempt.list !== asked) attempt = { list: asked, key: crypto.randomUUID() };
      const item = await api.launch(list, attempt.key);
      say(`Export launched. The file will be sent to ${recipientsText(item.recipients)}.`, "good");
      onLaunched(item);
    },
    onRefused(problem, form) {
      if (!problem.has("EXPORT_ALREADY_PENDING")) return false;
      const id = problem.location?.split("/").pop();
      const lead = () => {
        form.close();
        onPending(id);
      };
      form.stop(
        notice("waiting", "clock", h("p", {}, h("strong", {}, "An export is pending already."), " Only one can be at a time. Wait until it ends, then launch the next one."),
          id && h("button", { type: "button", class: "button small", onclick: lead }, "Show the pending export")),
      );
      return true;
    },
  });
}

/**
 * Asks for the recipients and sends an export's e-mail again. `onSent` gets the export; `onGone` is told that its file was
 * deleted, and `onRelaunch` that the user wants a new one.
 */
export function resend({ api, caller, item, onSent, onGone, onRelaunch }) {
  const { to, cc } = item.recipients;
  const first = isSame(to, caller.email) ? null : to;
  mailForm({
    title: "Send the e-mail again",
    lead: ["The same file, with a new download link. Nothing is exported anew."],
    confirm: "Send e-mail",
    busy: "Sending…",
    caller,
    cc,
    // The main recipient is whoever sends it again, so the one before would not get this one.
    suggestion: first && !cc.some((address) => isSame(address, first)) ? first : null,
    async send(list) {
      const isKept = list.length === cc.length && list.every((address, index) => address === cc[index]);
      const sent = await api.resend(item.exportId, isKept ? null : list);
      say(`E-mail sent to ${recipientsText(sent.recipients)}.`, "good");
      onSent(sent);
    },
    onRefused(problem, form) {
      if (!problem.has("EXPORT_FILE_GONE")) return false;
      onGone();
      const relaunch = () => {
        form.close();
        onRelaunch();
      };
      form.stop(
        notice("over", "hourglass", h("p", {}, h("strong", {}, "The file was deleted."), ` ${GONE_ADVICE}`),
          h("button", { type: "button", class: "button small", onclick: relaunch }, "Relaunch")),
      );
      return true;
    },
  });
}

function mailForm({ title, lead, confirm, busy, caller, cc, suggestion, send, onRefused }) {
  const dialog = h("dialog", { class: "modal" });
  const summary = h("p", { class: "summary", id: freshId("summary") });
  const trouble = h("div", { class: "trouble", role: "alert" });
  const field = new CcField(caller.email, cc, () => {
    fill(trouble);
    button.disabled = false;
    summarise();
  });
  const button = h("button", { type: "submit", class: "button primary", "aria-describedby": summary.id }, confirm);
  const to = h("div", { class: "field" }, h("span", { class: "label" }, "To"), h("p", { class: "to" }, icon("mail"), h("span", {}, caller.email), h("span", { class: "muted" }, "you")));
  const suggest = suggestion && h("p", { class: "hint" }, `${suggestion} got the first e-mail. `,
    h("button", { type: "button", class: "link", onclick: (event) => { field.add(suggestion); event.currentTarget.parentElement.remove(); field.focus(); } }, "Add as CC"));

  function summarise() {
    fill(summary, icon("mail"), h("span", {}, "The file will be sent to ", h("strong", {}, recipientsText({ to: caller.email, cc: field.validAddresses })), "."));
  }

  const form = {
    close: () => dialog.close(),
    /** Says why there is no going on. */
    stop(...content) {
      button.disabled = true;
      fill(trouble, content);
    },
  };

  async function submit(event) {
    event.preventDefault();
    field.commit();
    if (button.disabled) return;
    if (field.hasFaults) {
      fill(trouble, notice("bad", "fault", h("p", {}, "Correct or remove the marked addresses first.")));
      field.focus();
      return;
    }
    fill(trouble);
    fill(button, busy);
    button.disabled = true;
    try {
      await send(field.addresses);
      dialog.close();
      return;
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Unreachable)) throw error;
      button.disabled = false;
      if (!dialog.isConnected || (error instanceof Problem && onRefused(error, form))) return;
      const own = (error.errors ?? []).filter(({ field: name }) => name?.startsWith("cc"));
      if (own.length) {
        field.showFaults(own);
        field.focus();
      } else {
        fill(trouble, notice("bad", "fault", h("p", {}, explain(error))));
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
      trouble,
      h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"), button),
    ),
  );
  summarise();
  show(dialog);
  field.focus();
}
