// Validates e-mail addresses as the user enters them, by the API's rules. The API validates them again.
// address-cases.json, next to this folder, tests that both apply the same rules.

/** The maximum number of CC recipients. */
export const MAX_CC = 49;

const MESSAGES = {
  Empty: "The address is empty.",
  Several: "Enter one address at a time.",
  DisplayName: "Enter the address only, without a name or angle brackets.",
  At: "An address must contain exactly one ‘@’.",
  LocalNotAscii: "The part before ‘@’ must not contain accented letters.",
  LocalLength: "The part before ‘@’ must have 1 to 64 characters.",
  LocalForm: "The part before ‘@’ contains a misplaced dot or a character that is not allowed.",
  DomainNotAscii: "Enter a domain with accented letters in its ASCII form (xn--…).",
  Length: "An address must have at most 254 characters.",
  DomainForm: "The part after ‘@’ must be a domain such as example.com.",
};

const ASCII = /^[\x00-\x7f]*$/;
const ATOM = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+$/;
const LABEL = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

/** Returns the API's name for the error in an address, or null if it is valid. */
export function validationError(text) {
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

/** Returns the error message for an invalid address, or null if it is valid. */
export function addressError(text) {
  const error = validationError(text);
  return error && MESSAGES[error];
}

/** Compares without regard to case. */
export const isSame = (one, other) => one.toLowerCase() === other.toLowerCase();

/**
 * Splits typed or pasted text into addresses at commas, semicolons and line breaks, and at spaces if every word contains
 * an ‘@’. Drops display names and angle brackets, which mail programs add.
 */
export function split(text) {
  return text
    .replace(/"[^"]*"\s*(?=<)/g, "")
    .split(/[,;\r\n]+/)
    .map((part) => trim(/<([^<>]*)>\s*$/.exec(part)?.[1] ?? part))
    .flatMap((part) => {
      const words = part.split(/\s+/);
      return words.every((word) => word.includes("@")) ? words : [part];
    })
    .filter((part) => part !== "");
}

function trim(text) {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}
