"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

function prepare(section, attention) {
  const about = section.querySelector(".about");
  const rows = Array.from(section.querySelector("table").rows);
  const columnHeads = Array.from(rows[0].cells).slice(1);
  const source = side(".source", columnHeads, "looked at by", (here, other) => attention[here][other]);
  const target = side(".target", rows.slice(1), "looks at", (here, other) => attention[other][here]);
  const others = new Map([[source, target], [target, source]]);
  let marked = [];

  function side(selector, inTable, verb, weight) {
    const sentence = section.querySelector(selector);
    return { sentence, spans: Array.from(sentence.children), inTable, verb, weight, here: 0 };
  }

  function tell(from, index) {
    if (index < 0 || index >= from.spans.length) return;
    const other = others.get(from);
    from.here = index;
    for (const element of marked) delete element.dataset.here;
    marked = [from.spans[index], from.inTable[index]];
    for (const element of marked) element.dataset.here = "";
    for (const span of from.spans) span.className = "";
    const weights = other.spans.map((span, place) => {
      const weight = from.weight(index, place);
      span.className = "weight-" + Math.floor(weight * (data.steps - 1) + 0.5);
      return [weight, place];
    });
    const most = weights.filter(([weight]) => weight >= 0.005).sort((one, two) => two[0] - one[0]).slice(0, 5);
    const told = most.map(([weight, place]) => name(other, place) + " " + weight.toFixed(2));
    about.textContent = name(from, index) + " " + from.verb + " " + (told.join(" · ") || "nothing");
  }

  function name(from, index) {
    const head = from === target ? from.inTable[index].cells[0] : from.inTable[index];
    return "“" + head.textContent + "”";
  }

  function tellOf(event) {
    for (const from of [source, target]) {
      const index = from.spans.indexOf(event.target.closest("span"));
      if (index >= 0) return tell(from, index);
    }
    const cell = event.target.closest("th, td");
    if (!cell) return;
    if (cell.parentElement.rowIndex > 0) tell(target, cell.parentElement.rowIndex - 1);
    else tell(source, cell.cellIndex - 1);
  }

  section.addEventListener("pointerover", tellOf);
  section.addEventListener("click", tellOf);
  for (const from of [source, target]) {
    from.sentence.addEventListener("focus", () => tell(from, from.here));
    from.sentence.addEventListener("keydown", (event) => {
      const last = from.spans.length - 1;
      const to = { ArrowRight: from.here + 1, ArrowLeft: from.here - 1, Home: 0, End: last }[event.key];
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      tell(from, to);
    });
  }
}

document.querySelectorAll("section").forEach((section, number) => prepare(section, data.attention[number]));
document.getElementById("hint").hidden = false;
