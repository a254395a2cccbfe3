// The wires of an LSTM cell with the numbers of one unit at one step on them.

import { fixed, s, visible } from "./elements.js";

const WIDTH = 440;
const HEIGHT = 318;

function text(x, y, anchor, ...parts) {
  return s("text", { x, y, "text-anchor": anchor, "font-size": "13" }, ...parts);
}

function named(letter, subscript, value) {
  return [
    s("tspan", { class: "soft", "font-style": "italic", "font-family": "Georgia, serif" }, letter),
    subscript && s("tspan", { class: "soft", "font-size": "9", dy: "3" }, subscript),
    s("tspan", { class: "value", dy: subscript ? "-3" : "0" }, ` ${value}`),
  ];
}

function node(x, y, sign) {
  return [
    s("circle", { class: "node", cx: x, cy: y, r: "11" }),
    s("text", { x, y: y + 5, "text-anchor": "middle", "font-size": "15" }, sign),
  ];
}

function gate(x, sign, within) {
  return [
    s("rect", { class: "node", x: x - 29, y: "200", width: "58", height: "40", rx: "4" }),
    s("text", { x, y: "216", "text-anchor": "middle", "font-size": "13" }, sign),
    s("text", { x, y: "232", "text-anchor": "middle", "font-size": "11", class: "soft" }, within),
  ];
}

function wire(d, kind = "") {
  return s("path", { class: `wire ${kind}`, d });
}

/** The drawing, `one` being what `unitStep` gives. */
export function wires(one, char) {
  const told =
    `The cell's wires. Cell state before ${fixed(one.cellBefore)}, times forget gate ${fixed(one.forget)}, ` +
    `plus input gate ${fixed(one.input)} times candidate ${fixed(one.candidate)}, is cell state ${fixed(one.cell)}; ` +
    `its tanh ${fixed(one.squashed)} times output gate ${fixed(one.output)} is hidden state ${fixed(one.hidden)}.`;
  return s(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": told },
    s("rect", { class: "frame", x: "52", y: "20", width: "370", height: "278", rx: "8" }),
    wire("M4 60H81", "state"), wire("M103 60H197", "state"), wire("M219 60H436", "state"),
    wire("M92 200V71"), // forget
    wire("M166 200V136H197"), wire("M250 200V136H219"), wire("M208 125V71"), // input times candidate
    wire("M392 60V94"), wire("M392 122V153"), wire("M318 200V164H381"), wire("M392 175V276H436"), // out
    wire("M4 276H318V240"), wire("M92 276V240"), wire("M166 276V240"), wire("M250 276V240"),
    node(92, 60, "×"), node(208, 60, "+"), node(208, 136, "×"), node(392, 164, "×"),
    s("rect", { class: "node", x: "365", y: "94", width: "54", height: "28", rx: "14" }),
    s("text", { x: "392", y: "113", "text-anchor": "middle", "font-size": "13" }, "tanh"),
    gate(92, "σ", fixed(one.forgetLogit)), gate(166, "σ", fixed(one.inputLogit)),
    gate(250, "tanh", fixed(one.candidateWithin)), gate(318, "σ", fixed(one.outputLogit)),
    text(2, 46, "start", ...named("c", "t−1", fixed(one.cellBefore))),
    text(150, 48, "middle", s("tspan", { class: "value" }, fixed(one.kept))),
    text(300, 48, "middle", ...named("c", "t", fixed(one.cell))),
    text(99, 150, "start", ...named("f", "", fixed(one.forget))),
    text(160, 172, "end", ...named("i", "", fixed(one.input))),
    text(257, 172, "start", ...named("g", "", fixed(one.candidate))),
    text(215, 102, "start", s("tspan", { class: "value" }, fixed(one.added))),
    text(385, 143, "end", s("tspan", { class: "value" }, fixed(one.squashed))),
    text(325, 186, "start", ...named("o", "", fixed(one.output))),
    text(438, 294, "end", ...named("h", "t", fixed(one.hidden))),
    text(4, 266, "start", ...named("x", "t", visible(char))),
    text(4, 294, "start", ...named("h", "t−1", "")),
  );
}
