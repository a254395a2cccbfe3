"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const text = document.getElementById("text");
const choice = document.getElementById("choice");
const about = document.getElementById("about");
const scale = Array.from(document.getElementById("scale").children);
const spans = Array.from(text.children);
let here = -1;

function color() {
  const row = data.rows[choice.value];
  const diverging = row.scale === "diverging";
  const className = (position) => row.scale + "-" + Math.floor(position * (data.steps - 1) + 0.5);
  row.values.forEach((value, index) => {
    const share = value / row.largest;
    spans[index].className = className(Math.min(1, Math.max(0, diverging ? (share + 1) / 2 : share)));
  });
  scale.forEach((step, place) => {
    const position = place / (scale.length - 1);
    step.className = className(position);
    step.textContent = Number(((diverging ? 2 * position - 1 : position) * row.largest).toPrecision(3));
  });
}

function tell(index) {
  if (index < 0 || index >= spans.length || index === here) return;
  if (here >= 0) delete spans[here].dataset.here;
  here = index;
  spans[here].dataset.here = "";
  const symbol = data.symbols[here];
  const codes = Array.from(symbol, (letter) => letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
  const values = data.rows.map((row) => row.name + " " + row.values[here]);
  about.textContent = [JSON.stringify(symbol) + " U+" + codes.join(" U+"), "index " + here, ...values].join(" · ");
}

function tellOf(event) {
  const span = event.target.closest("#text > span");
  if (span) tell(spans.indexOf(span));
}

text.addEventListener("pointerover", tellOf);
text.addEventListener("click", tellOf);
text.addEventListener("focus", () => tell(Math.max(here, 0)));
text.addEventListener("keydown", (event) => {
  const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: spans.length - 1 }[event.key];
  if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  tell(to);
  spans[here].scrollIntoView({ block: "nearest" });
});
choice.addEventListener("change", color);
document.getElementById("panel").hidden = false;
color();
