// Elements made out of names, attributes and contents; text stays text, so nothing that is typed becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, contents) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") element.setAttribute("class", value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...contents.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** An element of HTML: `h("button", {type: "button", onclick: go}, "Go")`. */
export function h(name, attributes = {}, ...contents) {
  return filled(document.createElement(name), attributes, contents);
}

/** An element of SVG. */
export function s(name, attributes = {}, ...contents) {
  return filled(document.createElementNS(SVG, name), attributes, contents);
}

export function byId(id) {
  return document.getElementById(id);
}

/** What tells in words, in an element above what is shown, how a request goes: a kind for its class, and a message. */
export function tellIn(element) {
  return (kind, message) => {
    element.className = `told-above ${kind}`;
    element.textContent = message;
  };
}

/** A character as it can be seen. */
export function visible(char) {
  return { " ": "␣", "\n": "↵", "\t": "⇥", "": "∅" }[char] ?? char;
}

/** What a screen reader says for a character. */
export function spoken(char) {
  return { " ": "space", "\n": "line break", "\t": "tab", "": "nothing" }[char] ?? char;
}

export function fixed(value, digits = 2) {
  if (value === null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const told = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(told) !== 0 ? "−" : "") + told;
}

export function signed(value, digits = 2) {
  const told = fixed(value, digits);
  return told.startsWith("−") || Number(told) === 0 ? told : `+${told}`;
}

export function percent(value) {
  if (value >= 0.9995) return "> 99.9 %";
  if (value < 0.0005) return "< 0.1 %";
  return `${(100 * value).toFixed(1)} %`;
}
