// Creates DOM elements. Text is always added as text nodes, so nothing needs to be escaped.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an element. Properties that start with "on" are event listeners. True sets an empty attribute; false and null
 * omit it; any other value is the attribute's value. Children that are null or false are omitted.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...present(children));
  return element;
}

/** Replaces an element's children. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Like fill, but keeps the focus: on the button with the same name as before, or else on the first button. */
export function refill(element, ...children) {
  const focused = element.contains(document.activeElement) && nameOf(document.activeElement);
  fill(element, ...children);
  if (focused === false) return;
  const candidates = [...element.querySelectorAll("button, summary")];
  (candidates.find((candidate) => nameOf(candidate) === focused) ?? candidates[0])?.focus();
}

/** A control's accessible name. */
export const nameOf = (element) => element.getAttribute("aria-label") ?? element.textContent;

function present(children) {
  return children.flat().filter((child) => child != null && child !== false);
}

const CIRCLE = "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z";
const PATHS = {
  bank: "M4 9.5l8-5 8 5zM6 10v7M10 10v7M14 10v7M18 10v7M4 19.5h16",
  check: `${CIRCLE}M8.3 12.2l2.5 2.5 4.9-5.2`,
  clock: `${CIRCLE}M12 7.5V12l3 2`,
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  copy: "M10.5 8.5h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-7a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2zM15.5 8.5v-2a2 2 0 0 0-2-2h-7a2 2 0 0 0-2 2v7a2 2 0 0 0 2 2h2",
  down: "M12 5.5v13M6.8 13.5l5.2 5.2 5.2-5.2",
  download: "M12 4v10.5M7.5 10.3l4.5 4.5 4.5-4.5M5 19.5h14",
  error: `${CIRCLE}M12 7.8v5M12 16v.2`,
  file: "M13.5 3.5H7.5a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h9a2 2 0 0 0 2-2V8.5zM13.5 3.5v5h5M9 13h6M9 16.5h6",
  hourglass: "M7 4h10M7 20h10M8 4c0 4.5 4 5 4 8 0-3 4-3.5 4-8M8 20c0-4.5 4-5 4-8 0 3 4 3.5 4 8",
  info: `${CIRCLE}M12 11.2v5M12 7.8v.2`,
  left: "M14.5 6l-6 6 6 6",
  mail: "M5.5 5.5h13a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2v-9a2 2 0 0 1 2-2zM4 7.5l8 5.5 8-5.5",
  plus: "M12 5.5v13M5.5 12h13",
  relaunch: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3l2.2 2.3M19.5 4.5V9H15",
  right: "M9.5 6l6 6-6 6",
  "sign-out": "M14 7.5v-1a2 2 0 0 0-2-2H7a2 2 0 0 0-2 2v11a2 2 0 0 0 2 2h5a2 2 0 0 0 2-2v-1M10 12h10M16.8 8.8L20 12l-3.2 3.2",
  unplugged: "M4 4l16 16M7.5 8.6A4.5 4.5 0 0 0 8 17.5h8.5M10.4 6.7A5 5 0 0 1 17 11a3.3 3.3 0 0 1 2.6 5",
  up: "M12 18.5v-13M6.8 10.5L12 5.3l5.2 5.2",
};

/** A decorative icon, hidden from assistive technology. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of Object.entries({ viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" })) {
    svg.setAttribute(attribute, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

let ids = 0;

/** A unique element ID, for labels and descriptions. */
export function uniqueId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}
