// The help page of an export type. Columns, statuses and advice are those of the definitions and of the rest of the page.

import { h } from "./dom.js";
import { FAILURES, STATUSES } from "./exports.js";
import { pageTitle, rowStatus } from "./format.js";
import { badge, csvHelp } from "./pieces.js";

const EXPORT_STATUSES = {
  PENDING: "The file is being made. Only one export of a type can be pending at a time.",
  READY: "The file is complete and the link was sent. You can also download the file here.",
  FAILED: "There is no e-mail with a link. The details say why and what to do.",
  EXPIRED: "The mailed link no longer works. Resend the e-mail to get a new link to the same file, as long as the file is kept.",
};

export function helpPage(type) {
  const { title, plural, columns, statuses } = type;
  document.title = `Help on ${title.toLowerCase()} · Back Office`;
  const section = (heading, ...content) => h("section", { class: "card" }, h("h2", {}, heading), content);
  return h(
    "main",
    { id: "main", class: "help-page", tabindex: "-1" },
    h("header", { class: "page-head" }, h("div", {}, h("p", { class: "path" }, pageTitle(type)), h("h1", {}, "Help"))),
    section("Columns of the file", table(["Column", "Meaning"], columns.map(({ name, description, mayBeEmpty }) => [h("code", {}, name), `${description}${mayBeEmpty ? " May be empty." : ""}`])), h("p", {}, "Amounts are exact decimals of the row's currency; in an Excel file, those of more than 15 digits are text, because a spreadsheet would round them. Times are in UTC; in a CSV file as 2026-10-08T00:00:01Z. In a CSV file, text that a spreadsheet could run as a formula starts with an apostrophe.")),
    section(`Statuses of ${plural}`, table(["Status", "Meaning"], statuses.map(({ name, description }) => [h("span", {}, h("code", {}, name), ` ${rowStatus(name)}`), description]))),
    section(
      "Check a file",
      h("ol", {},
        h("li", {}, "Open the details of the export. Its totals are also in the e-mail."),
        h("li", {}, `Compare the number of rows of the file, without its header, with the number of ${plural}.`),
        h("li", {}, "Add up the column ", h("code", {}, "amount"), " for each currency and status, for example with a pivot table. The sums must equal the totals. If they do not, the spreadsheet has misread amounts: import the file again as described below."),
        h("li", {}, "To prove that nobody changed the file, compare its SHA-256 checksum with that of the details: ", h("code", {}, "Get-FileHash"), " in Windows PowerShell, ", h("code", {}, "shasum -a 256"), " on a Mac, ", h("code", {}, "sha256sum"), " on Linux. Saving the file in a spreadsheet changes it."),
      ),
    ),
    section("Open a file", h("p", {}, "Choose the format Excel when you launch an export to open the file with a double-click. CSV is for other systems."), csvHelp()),
    section("Statuses of exports", table(["Status", "Meaning"], Object.keys(STATUSES).map((status) => [badge({ status }), EXPORT_STATUSES[status]]))),
    section("If an export failed", table(["Failure", "What to do"], Object.values(FAILURES)), h("p", {}, "The details of the export name its failure. Quote the export ID when you ask your administrator.")),
    section(
      "Why two exports of one period can differ",
      h("ul", { class: "bullets" },
        h("li", {}, `An export has the ${plural} that were created before it was launched, also if its period ends later.`),
        h("li", {}, "Amounts and statuses are as read between the start and the end of the generation, which the details show. They can change between two exports, so totals by status can move."),
        h("li", {}, `A row that the payments service adds later with an earlier creation time is in no earlier file.`),
        h("li", {}, "The period ends at midnight of your browser's time zone. A colleague in another zone exports other hours. The details show the exact times."),
        h("li", {}, "The filters can differ: the details list them."),
      ),
    ),
  );
}

function table(headers, rows) {
  return h(
    "div",
    { class: "help-table" },
    h("table", {}, h("thead", {}, h("tr", {}, headers.map((header) => h("th", { scope: "col" }, header)))), h("tbody", {}, rows.map(([first, second]) => h("tr", {}, h("th", { scope: "row" }, first), h("td", {}, second))))),
  );
}
