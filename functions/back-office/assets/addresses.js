// The API's rules for an e-mail address, so that a fault shows as it is entered. The API checks again and has the last
// word; the cases in address-cases.json, beside this folder, hold both to the same rules.

/** How many CC addresses a mail can have. */
export const MOST_CC = 49;

const REASONS = {
  Empty: "The address is empty.",
  Several: "One address at a time.",
  DisplayName: "Only the address itself, without a name or angle brackets.",
  At: "An address has exactly one ‘@’.",
  LocalNotAscii: "The part before ‘@’ may only have unaccented letters.",
  LocalLength: "The part before ‘@’ has 1 to 64 characters.",
  LocalForm: "The part before ‘@’ has a character or a dot where it may not.",
  DomainNotAscii: "A domain with accented letters is written in its ASCII form (xn--…).",
  Length: "An address has at most 254 characters.",
  DomainForm: "The part after ‘@’ is not a domain such as example.com.",
};

const ASCII = /^[\x00-\x7f]*$/;
const ATOM = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+$/;
const LABEL = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

/** Why a text is no address, by the names the API's code has for it; null if it is one. */
export function fault(text) {
  const address = trim(text);
  if (address === "") return "Empty";
  if (/[,;]/.test(address)) return "Several";
  if (/[<>]/.test(address)) return "DisplayName";
  const parts = address.split("@");
  if (parts.length !== 2) return "At";
  const [local, domain] = parts;
  if (!ASCII.test(local)) return "LocalNotAscii";
  if (local.length < 1 || local.length > 64) return "LocalLength";
  if (!local.split(".").every((atom) => ATOM.test(atom))) return "LocalForm";
  if (!ASCII.test(domain)) return "DomainNotAscii";
  const labels = domain.split(".");
  const isName = labels.length > 1 && labels.every((label) => LABEL.test(label));
  if (!isName || /^\d+$/.test(labels.at(-1))) return "DomainForm";
  return address.length > 254 ? "Length" : null;
}

/** What to tell about a text that is no address; null if it is one. */
export function complaint(text) {
  const reason = fault(text);
  return reason && REASONS[reason];
}

/** Letters' case does not tell mailboxes apart. */
export const isSame = (one, other) => one.toLowerCase() === other.toLowerCase();

/**
 * The addresses in a text as people type and paste it: between commas, semicolons or line breaks, or between spaces if
 * each word is an address; with the names that mail programs put around them, which are dropped.
 */
export function split(text) {
  return text
    .replace(/"[^"]*"\s*(?=<)/g, "")
    .split(/[,;\r\n]+/)
    .map((piece) => trim(/<([^<>]*)>\s*$/.exec(piece)?.[1] ?? piece))
    .flatMap((piece) => {
      const words = piece.split(/\s+/);
      return words.every((word) => word.includes("@")) ? words : [piece];
    })
    .filter((piece) => piece !== "");
}

function trim(text) {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}
