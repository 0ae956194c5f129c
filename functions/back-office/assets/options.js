// The words for what an export was launched with: format, period and filters.

import { amount, instant, rowStatus } from "./format.js";
import { boundsText } from "./period.js";

export const FORMATS_TEXT = {
  CSV: { name: "CSV", use: "for other systems" },
  XLSX: { name: "Excel", use: "for people" },
};

/** `Excel`. An open page can be older than a format. */
export const formatName = ({ format }) => FORMATS_TEXT[format]?.name ?? format;

/** By field of the filter. */
export const FILTER_LABELS = {
  statuses: "Status",
  currencies: "Currency",
  supplierIds: "Supplier ID",
  amountMin: "Amount from",
  amountMax: "Amount to",
  sourceBalanceAccountType: "Source account",
  targetBalanceAccountType: "Target account",
};

/** The values that the page shows as words instead of as names. */
export const valueText = (field, value) =>
  field.startsWith("amount") ? amount(value) : /^(statuses|\w+BalanceAccountType)$/.test(field) ? rowStatus(value) : value;

/** The period of an export's rows. It ends with the launch at the latest. */
export function periodText({ filter, asOf }) {
  const { createdAtFrom: from, createdAtTo } = filter;
  const to = createdAtTo && createdAtTo < asOf ? createdAtTo : null;
  return boundsText({ from, to }, instant(asOf));
}

/** The other filters of an export: the label and the values of each. */
export const conditions = ({ filter }) =>
  Object.entries(FILTER_LABELS)
    .filter(([field]) => filter[field] !== undefined)
    .map(([field, label]) => [label, [filter[field]].flat().map((value) => valueText(field, value))]);

const MAX_VALUES = 3;

/** Format, period and filters in one line. */
export function optionsText(item) {
  const { createdAtFrom, createdAtTo } = item.filter;
  const shortened = (values) => (values.length > MAX_VALUES ? `${values.slice(0, MAX_VALUES).join(", ")} and ${values.length - MAX_VALUES} more` : values.join(", "));
  const parts = [(createdAtFrom || createdAtTo) && periodText(item), ...conditions(item).map(([label, values]) => `${label}: ${shortened(values)}`)].filter(Boolean);
  return [formatName(item), ...(parts.length ? parts : ["everything"])].join(" · ");
}
