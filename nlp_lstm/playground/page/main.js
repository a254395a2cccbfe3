// The four parts and the tabs between them.

import { readAddress, writeAddress } from "./address.js";
import { cellPart } from "./cell.js";
import { byId } from "./elements.js";
import { sentimentPart } from "./sentiment.js";
import { translationPart } from "./translation.js";
import { writingPart } from "./writing.js";

const PARTS = { cell: cellPart, writing: writingPart, sentiment: sentimentPart, translation: translationPart };
const names = Object.keys(PARTS);
const started = {};
let current = "";

/** A part's settings go into the address while it is shown. */
function keep(name) {
  return (settings) => {
    started[name].settings = settings;
    if (current === name) writeAddress(name, settings);
  };
}

function show(name, settings) {
  current = name;
  for (const other of names) {
    const tab = byId(`tab-${other}`);
    const chosen = other === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(`part-${other}`).hidden = !chosen;
  }
  document.title = `${byId(`tab-${name}`).textContent} – nlp_lstm`;
  if (!started[name]) {
    started[name] = {};
    started[name].part = PARTS[name](byId(`part-${name}`), keep(name));
    started[name].part.open(settings);
  } else if ([...settings].length) {
    started[name].part.open(settings);
  } else {
    if (started[name].settings) writeAddress(name, started[name].settings);
    started[name].part.draw?.(); // what came while it was hidden, when there was no width to draw by
  }
}

function followAddress() {
  const { part, settings } = readAddress();
  show(names.includes(part) ? part : "cell", settings);
}

for (const name of names) {
  const tab = byId(`tab-${name}`);
  tab.addEventListener("click", (event) => {
    event.preventDefault();
    if (name !== current) location.hash = `#${name}`;
  });
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const place = { Home: 0, End: names.length - 1 }[event.key] ?? (step && names.indexOf(name) + step);
    if (event.key === " ") tab.click();
    if (place !== undefined) {
      const next = names[(place + names.length) % names.length];
      location.hash = `#${next}`;
      byId(`tab-${next}`).focus();
    }
    if (place !== undefined || event.key === " ") event.preventDefault();
  });
}

window.addEventListener("hashchange", followAddress);
followAddress();
