// The cell: what every gate and state of every unit does while the model reads the visitor's text.

import { number } from "./address.js";
import { onSchemeChange } from "./colours.js";
import { copyButtons, curlLine, pythonLine, pythonQuoted } from "./copy_lines.js";
import { byId, fixed, h, percent, s, signed, spoken, tellIn, visible } from "./elements.js";
import { PROPERTIES, QUANTITIES, correlation, divergence, movement, unitStep } from "./equations.js";
import { HeatMap, legend } from "./heat_map.js";
import { Latest, predict } from "./protocol.js";
import { beginning, layers, spelling, symbolText } from "./state.js";
import { LONGEST, carriedForward, impossible } from "./what_if.js";
import { wires } from "./wires.js";

const LONGEST_TEXT = 200;
const ROWS = 24;
const EXAMPLE = "ROMEO:\nBut soft, what light through yonder window breaks?";
const TOLD = {
  input: "input gate",
  forget: "forget gate",
  candidate: "candidate",
  output: "output gate",
  cell: "cell state",
  hidden: "hidden state",
};

function options(pairs) {
  return pairs.map(([value, text]) => h("option", { value }, text));
}

/** A number as a factor, in brackets where it is negative. */
function factor(value) {
  const told = fixed(value);
  return told.startsWith("−") ? `(${told})` : told;
}

function v(letter, subscript) {
  return [h("var", {}, letter), subscript && h("sub", {}, subscript)];
}

const TEMPLATE = () => [
  h("p", { class: "intro" },
    "A character model of two LSTM layers reads your text one character at a time. Each row below is one unit, each column one character; pick a field to see that unit’s arithmetic at that step."),
  h("label", { for: "cell-text" }, "Your text"),
  h("textarea", { id: "cell-text", class: "text-in", rows: "3", maxlength: LONGEST_TEXT, spellcheck: "false", "aria-describedby": "cell-room" }),
  h("div", { class: "under-text" },
    h("span", { id: "cell-room" }),
    h("span", {}, "The model was trained on Shakespeare’s plays.")),
  h("div", { id: "cell-told", class: "told-above", role: "status" }),
  h("div", { id: "cell-shown" },
    h("div", { class: "controls" },
      h("div", {}, h("label", { for: "cell-quantity" }, "Show"),
        h("select", { id: "cell-quantity" }, options(["hidden", "cell", "input", "forget", "candidate", "output"].map((name) => [name, TOLD[name]])))),
      h("div", {}, h("label", { for: "cell-layer" }, "Layer"), h("select", { id: "cell-layer" })),
      h("div", { class: "wide" }, h("label", { for: "cell-order" }, "Units first that"),
        h("select", { id: "cell-order" },
          options([["movement", "move the most"], ...Object.entries(PROPERTIES).map(([name, [told]]) => [name, `follow: ${told}`]), ["number", "have the lowest number"]]))),
      h("div", { class: "choice", role: "group", "aria-label": "Pages of units" },
        h("button", { type: "button", id: "cell-back" }, "← Units"),
        h("button", { type: "button", id: "cell-forth" }, "Units →"))),
    h("figure", {},
      h("div", { id: "cell-map" }),
      h("div", { id: "cell-legend" }),
      h("figcaption", { id: "cell-help" },
        "Click a field, or focus the map and walk with the arrow keys (Home, End, Page Up, Page Down too). ",
        h("span", { id: "cell-page" }))),
    h("h2", {}, "The equations, with their numbers"),
    h("div", { class: "controls" },
      h("div", { class: "wide" }, h("label", { for: "cell-step", id: "cell-step-label" }, "Character"), h("input", { type: "range", id: "cell-step", min: "0", step: "1" })),
      h("div", {}, h("label", { for: "cell-unit" }, "Unit"), h("input", { type: "number", id: "cell-unit", min: "0", step: "1" }))),
    h("p", { id: "cell-summary", class: "result-line", "aria-live": "polite" }),
    h("div", { class: "equations" }, h("div", {}, h("ol", { id: "cell-equations" })), h("figure", { id: "cell-wires" })),
    h("p", { class: "note" },
      "The model’s server gives the values of gates and states. The numbers inside σ( ) and tanh( ) are not among them: they are worked out backwards from the gates, as the logit of a gate and the artanh of the candidate."),
    h("p", { class: "note", id: "cell-differs", hidden: true },
      "In this model the equations in this plain form do not give the served values: it normalises within the cell."),
    h("h2", {}, "What if a gate stayed shut, or open?"),
    h("p", {},
      "One gate of the chosen unit is held at 0 or 1, in the chosen step alone or from it to the end; all else is the model’s own arithmetic. The page hands ",
      h("code", {}, "step"),
      " the cell state with which the unit’s cell comes out as if the gate had that value, and the model computes every other unit, and what follows, from there."),
    h("div", { class: "controls" },
      h("div", {}, h("label", { for: "if-gate" }, "Gate"), h("select", { id: "if-gate" }, options(["forget", "input", "output"].map((name) => [name, TOLD[name]])))),
      h("div", {}, h("label", { for: "if-held" }, "held at"), h("select", { id: "if-held" }, options([["0", "0, shut"], ["1", "1, open"]]))),
      h("div", {}, h("label", { for: "if-span" }, "for"), h("select", { id: "if-span" }, options([["all", "all steps from here"], ["one", "this step alone"]]))),
      h("button", { type: "button", id: "if-run" }, "Carry forward")),
    h("p", { id: "if-note", class: "note" }),
    h("div", { id: "if-told", class: "told-above", role: "status" }),
    h("div", { id: "if-shown", hidden: true },
      h("p", { id: "if-summary", class: "result-line", "aria-live": "polite" }),
      h("figure", {}, h("div", { id: "if-chart", class: "scroll", tabindex: "0", role: "region", "aria-label": "Change after each character" }),
        h("figcaption", {}, "How much the prediction of the next character changed after each character, in bits (Kullback–Leibler divergence).")),
      h("label", { for: "if-step", id: "if-step-label" }, "After"),
      h("input", { type: "range", id: "if-step", min: "0", step: "1" }),
      h("h3", {}, "What comes next"),
      h("p", { class: "note" }, h("span", { class: "swatch" }), "as it is  ", h("span", { class: "swatch after" }), "with the gate held"),
      h("ul", { id: "if-bars", class: "bars wide-share" })),
    h("div", { id: "cell-copy" })),
];

export function cellPart(section, keep) {
  section.append(...TEMPLATE());
  const [text, told, shown] = [byId("cell-text"), byId("cell-told"), byId("cell-shown")];
  const [quantity, layer, order] = [byId("cell-quantity"), byId("cell-layer"), byId("cell-order")];
  const [stepInput, unitInput] = [byId("cell-step"), byId("cell-unit")];
  const chosen = { step: null, unit: null };
  let data = null; // of the text that is shown: {text, chars, gates, beginning, layers}
  let ranked = [];
  let supposed = null;
  let typed = false;

  const asking = new Latest("char_lm", tellIn(told));
  const tellOfSupposition = tellIn(byId("if-told"));
  const supposing = new Latest("char_lm", tellOfSupposition);
  const map = new HeatMap((step, row) => choose(step, shownUnits()[row]), "cell-help");
  byId("cell-map").append(map.element);
  byId("cell-copy").append(
    copyButtons(() => ({
      curl: curlLine("char_lm", "gates", { text: [text.value] }),
      python: pythonLine(`gates(${pythonQuoted(text.value)}).activity["${quantity.value}"]`),
    })),
  );

  function settings() {
    return {
      text: text.value,
      show: quantity.value,
      layer: layer.value || "all",
      order: order.value,
      ...(chosen.step === null ? {} : { step: chosen.step }),
      ...(chosen.unit === null ? {} : { unit: chosen.unit }),
    };
  }

  function ask(wait) {
    shown.classList.add("stale");
    const count = [...text.value].length;
    byId("cell-room").textContent = `${count} of ${LONGEST_TEXT} characters: the answer holds six numbers for each unit and character.`;
    keep(settings());
    supposing.stop();
    if (!text.value) {
      asking.stop();
      shown.hidden = true;
      told.className = "told-above";
      told.textContent = "Type something to read.";
      return;
    }
    const wanted = text.value;
    if (!data) told.textContent = "Asking …";
    asking.run(
      async (signal) => {
        const [outputs, form, { state }] = await Promise.all([
          predict("char_lm", "gates", { text: [wanted] }, signal),
          layers(signal),
          beginning(signal),
        ]);
        const length = outputs.length[0];
        const gates = Object.fromEntries(QUANTITIES.map((name) => [name, outputs[name][0].slice(0, length)]));
        let chars = [...wanted];
        if (chars.length !== length) {
          chars = [...new TextEncoder().encode(wanted)].map((byte) => symbolText(Uint8Array.of(byte))).slice(0, length);
        }
        return { text: wanted, chars, gates, beginning: state, layers: form };
      },
      (answer) => {
        data = answer;
        shown.hidden = false;
        shown.classList.remove("stale");
        forgetSupposition();
        fillLayers();
        rank();
        choose(chosen.step ?? (typed ? data.chars.length - 1 : liveliestStep(chosen.unit ?? ranked[0])), chosen.unit ?? ranked[0], false);
      },
      wait,
    );
  }

  function fillLayers() {
    if (layer.options.length) return;
    layer.append(...options([["all", "both"], ...data.layers.map((_, place) => [String(place + 1), String(place + 1)])]));
    if (data.layers.length !== 2) layer.options[0].textContent = "all";
    layer.value = layer.dataset.wanted ?? "all";
    if (!layer.value) layer.value = "all";
  }

  /** The first unit of a layer, and of the one behind it. */
  function bounds(place) {
    const first = data.layers.slice(0, place).reduce((sum, one) => sum + one.units, 0);
    return [first, first + data.layers[place].units];
  }

  function rank() {
    const rows = data.gates[quantity.value];
    const [first, end] = layer.value === "all" ? [0, rows[0].length] : bounds(Number(layer.value) - 1);
    ranked = Array.from({ length: end - first }, (_, place) => first + place);
    if (order.value === "number") return;
    const property = PROPERTIES[order.value]?.[1](data.chars);
    const worth = new Map(
      ranked.map((unit) => [unit, property ? Math.abs(correlation(rows, unit, property)) : movement(rows, unit)]),
    );
    ranked.sort((one, other) => worth.get(other) - worth.get(one) || one - other);
  }

  /** Where a unit's shown value changes most. */
  function liveliestStep(unit) {
    const rows = data.gates[quantity.value];
    const change = rows.map((row, step) => (step ? Math.abs(row[unit] - rows[step - 1][unit]) : 0));
    return change.indexOf(Math.max(...change));
  }

  function page() {
    return Math.max(0, Math.floor(ranked.indexOf(chosen.unit) / ROWS));
  }

  function shownUnits() {
    return ranked.slice(page() * ROWS, (page() + 1) * ROWS);
  }

  function choose(step, unit, byHand = true) {
    const changed = step !== chosen.step || unit !== chosen.unit;
    chosen.step = Math.min(Math.max(step, 0), data.chars.length - 1);
    chosen.unit = ranked.includes(unit) ? unit : ranked[0];
    if (byHand) keep(settings());
    if (changed) forgetSupposition();
    draw();
  }

  function draw() {
    if (!data || section.hidden) return;
    const { chars, gates } = data;
    const rows = gates[quantity.value];
    const units = shownUnits();
    const largest = quantity.value === "cell" ? null : 1; // some cells count to 30, beside which the others would pale
    map.show({ chars, units, rows, quantity: quantity.value, largest, step: chosen.step, row: units.indexOf(chosen.unit) });
    map.reveal();
    byId("cell-legend").replaceChildren(legend(quantity.value, largest));
    const pages = Math.ceil(ranked.length / ROWS);
    byId("cell-page").textContent = `Units ${page() * ROWS + 1} to ${page() * ROWS + units.length} of ${ranked.length} in this order.`;
    byId("cell-back").disabled = page() === 0;
    byId("cell-forth").disabled = page() === pages - 1;
    stepInput.max = chars.length - 1;
    stepInput.value = chosen.step;
    unitInput.max = gates.cell[0].length - 1;
    if (document.activeElement !== unitInput) unitInput.value = chosen.unit;
    drawUnit();
  }

  function place() {
    const which = data.layers.findIndex((_, one) => chosen.unit < bounds(one)[1]);
    const { cell, hidden } = data.layers[which];
    return { which, cell, hidden, unit: chosen.unit - bounds(which)[0] };
  }

  function stateBefore(step) {
    if (step === 0) return data.beginning;
    const state = {};
    data.layers.forEach(({ cell, hidden }, which) => {
      state[hidden] = data.gates.hidden[step - 1].slice(...bounds(which));
      state[cell] = data.gates.cell[step - 1].slice(...bounds(which));
    });
    return state;
  }

  function now() {
    const { cell, unit } = place();
    return unitStep(data.gates, chosen.step, chosen.unit, stateBefore(chosen.step)[cell][unit]);
  }

  function drawUnit() {
    const one = now();
    const char = data.chars[chosen.step];
    const property = PROPERTIES[order.value];
    const follows = property
      ? ` It follows “${property[0]}” with r = ${signed(correlation(data.gates[quantity.value], chosen.unit, property[1](data.chars)))}.`
      : "";
    stepInput.setAttribute("aria-valuetext", `${chosen.step + 1}: ${spoken(char)}`);
    byId("cell-step-label").textContent = `Character ${chosen.step + 1} of ${data.chars.length}: ${visible(char)}`;
    byId("cell-summary").textContent =
      `Unit ${chosen.unit} (layer ${place().which + 1}) on reading “${visible(char)}”: cell state ${fixed(one.cellBefore)} → ${fixed(one.cell)}, hidden state ${fixed(one.hidden)}.${follows}`;
    const line = (name, ...parts) => h("li", {}, h("span", { class: "name" }, name), ...parts.flat(3));
    const value = (number) => h("strong", {}, fixed(number));
    byId("cell-equations").replaceChildren(
      line("Forget gate: how much is kept", v("f", "t"), ` = σ(${fixed(one.forgetLogit)}) = `, value(one.forget)),
      line("Input gate: how much is let in", v("i", "t"), ` = σ(${fixed(one.inputLogit)}) = `, value(one.input)),
      line("Candidate: what would be let in", v("g", "t"), ` = tanh(${fixed(one.candidateWithin)}) = `, value(one.candidate)),
      line("Cell state: what is remembered",
        v("c", "t"), " = ", v("f", "t"), "·", v("c", "t−1"), " + ", v("i", "t"), "·", v("g", "t"), h("br"),
        ` = ${fixed(one.forget)} · ${factor(one.cellBefore)} + ${fixed(one.input)} · ${factor(one.candidate)} = `, value(one.cell)),
      line("Output gate: how much is shown", v("o", "t"), ` = σ(${fixed(one.outputLogit)}) = `, value(one.output)),
      line("Hidden state: what others see",
        v("h", "t"), " = ", v("o", "t"), "·tanh(", v("c", "t"), ")", ` = ${fixed(one.output)} · ${factor(one.squashed)} = `, value(one.hidden)),
    );
    byId("cell-wires").replaceChildren(wires(one, char));
    byId("cell-differs").hidden = one.holds;
  }

  function forgetSupposition() {
    supposing.stop();
    supposed = null;
    byId("if-shown").hidden = true;
    byId("if-told").textContent = "";
  }

  function wish() {
    return { gate: byId("if-gate").value, held: Number(byId("if-held").value), span: byId("if-span").value };
  }

  function checkWish() {
    const why = impossible(wish().gate, wish().held, wish().span);
    byId("if-run").disabled = Boolean(why);
    byId("if-note").textContent = why || `At most ${LONGEST} characters are read on.`;
  }

  function suppose() {
    const { gate, held, span } = wish();
    const { chars } = data;
    const { step, unit } = chosen;
    supposing.run(
      async (signal) => {
        const symbols = (await spelling(signal)).map(symbolText);
        const tell = (done, all) => tellOfSupposition("", `Reading on … ${done} of ${all}`);
        const steps = await carriedForward(
          { chars, step, before: stateBefore(step), place: place(), now: now(), gate, held, span }, tell, signal);
        return { steps, symbols, chars, step, unit, gate, held, span };
      },
      (answer) => {
        supposed = answer;
        supposed.bits = answer.steps.map(({ plain, changed }) => divergence(plain.logProbs, changed.logProbs));
        byId("if-shown").hidden = false;
        byId("if-step").max = answer.steps.length - 1;
        byId("if-step").value = supposed.bits.indexOf(Math.max(...supposed.bits));
        drawSupposition();
      },
    );
  }

  function drawSupposition() {
    const { steps, symbols, bits, chars, step, unit, gate, held, span } = supposed;
    const place = Number(byId("if-step").value);
    const { plain, changed } = steps[place];
    const char = chars[step + place];
    byId("if-step-label").textContent = `After character ${step + place + 1}: ${visible(char)}`;
    byId("if-step").setAttribute("aria-valuetext", `${step + place + 1}: ${spoken(char)}`);
    byId("if-summary").textContent =
      `With the ${TOLD[gate]} of unit ${unit} at ${held} ${span === "all" ? "from" : "in"} step ${step + 1}: after “${visible(char)}” its cell state is ${fixed(changed.cell)} instead of ${fixed(plain.cell)}, its hidden state ${fixed(changed.hidden)} instead of ${fixed(plain.hidden)}; what comes next changed by ${fixed(bits[place], 3)} bits.`;
    const largest = Math.max(...bits, 1e-3);
    const width = Math.max(16, Math.min(40, 640 / bits.length));
    byId("if-chart").replaceChildren(
      s("svg", { width: 60 + width * bits.length, height: "112", viewBox: `0 0 ${60 + width * bits.length} 112`, role: "img",
        "aria-label": `Change in bits after each character, ${fixed(largest, 3)} at the most` },
      s("line", { class: "rule", x1: "48", x2: 48 + width * bits.length, y1: "86", y2: "86" }),
      s("text", { x: "42", y: "18", "text-anchor": "end", "font-size": "12", class: "soft" }, fixed(largest, largest < 0.1 ? 3 : 2)),
      s("text", { x: "42", y: "90", "text-anchor": "end", "font-size": "12", class: "soft" }, "0"),
      bits.map((one, at) => [
        s("rect", { class: "bar-warm", x: 50 + width * at, width: width - 4, y: 86 - (72 * one) / largest, height: (72 * one) / largest }),
        at === place && s("rect", { class: "cursor", x: 48 + width * at, width, y: "8", height: "100" }),
        s("text", { x: 48 + width * (at + 0.5), y: "103", "text-anchor": "middle", "font-size": "13" }, visible(chars[step + at])),
      ])),
    );
    const likely = (one) => symbols.map((_, number) => number).sort((a, b) => one.logProbs[b] - one.logProbs[a]).slice(0, 6);
    const numbers = [...new Set([...likely(plain), ...likely(changed)])];
    const most = Math.max(...numbers.map((n) => Math.exp(Math.max(plain.logProbs[n], changed.logProbs[n]))));
    byId("if-bars").replaceChildren(
      ...numbers.map((n) => {
        const [before, after] = [Math.exp(plain.logProbs[n]), Math.exp(changed.logProbs[n])];
        const fill = (share, kind) => {
          const one = h("span", { class: `fill ${kind}` });
          one.style.width = `${(100 * share) / most}%`;
          return h("span", { class: "track" }, one);
        };
        return h("li", {},
          h("span", { class: "char" }, visible(symbols[n])),
          h("span", { class: "pair", "aria-hidden": "true" }, fill(before, ""), fill(after, "after")),
          h("span", { class: "share" }, `${percent(before)} → ${percent(after)}`));
      }),
    );
  }

  text.addEventListener("input", () => {
    chosen.step = null;
    typed = true;
    ask(300);
  });
  for (const one of [quantity, layer, order]) {
    one.addEventListener("change", () => {
      if (!data) return;
      rank();
      choose(chosen.step, ranked[0]);
    });
  }
  byId("cell-back").addEventListener("click", () => choose(chosen.step, ranked[(page() - 1) * ROWS]));
  byId("cell-forth").addEventListener("click", () => choose(chosen.step, ranked[(page() + 1) * ROWS]));
  stepInput.addEventListener("input", () => choose(Number(stepInput.value), chosen.unit));
  unitInput.addEventListener("input", () => {
    const unit = unitInput.valueAsNumber;
    if (!data || !Number.isInteger(unit) || unit < 0 || unit >= data.gates.cell[0].length) return;
    if (!ranked.includes(unit)) {
      layer.value = "all";
      rank();
    }
    choose(chosen.step, unit);
  });
  for (const id of ["if-gate", "if-held", "if-span"]) {
    byId(id).addEventListener("change", () => {
      forgetSupposition();
      checkWish();
    });
  }
  byId("if-run").addEventListener("click", suppose);
  byId("if-step").addEventListener("input", drawSupposition);
  onSchemeChange(draw);
  window.addEventListener("resize", draw);
  checkWish();

  return {
    draw,
    open(wanted) {
      text.value = (wanted.get("text") ?? EXAMPLE).slice(0, LONGEST_TEXT);
      for (const [select, name] of [[quantity, "show"], [order, "order"]]) {
        const value = wanted.get(name);
        select.value = [...select.options].some((one) => one.value === value) ? value : select.options[0].value;
      }
      layer.dataset.wanted = wanted.get("layer") ?? "all";
      if (layer.options.length) layer.value = layer.dataset.wanted;
      chosen.step = number(wanted, "step", null, 0);
      chosen.unit = number(wanted, "unit", null, 0);
      typed = false;
      ask(0);
    },
  };
}
