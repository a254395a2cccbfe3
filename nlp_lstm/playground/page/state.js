// The character model's state, which goes with each request to `step` and comes back with the answer.

import { predict, signatures, unpacked } from "./protocol.js";

/** `hidden_1`, `cell_1`, … and their units, first layer first. */
export async function layers(signal) {
  const { step } = await signatures("char_lm", signal);
  const count = Object.keys(step.inputs).filter((name) => name.startsWith("cell_")).length;
  return Array.from({ length: count }, (_, layer) => ({
    hidden: `hidden_${layer + 1}`,
    cell: `cell_${layer + 1}`,
    units: step.inputs[`cell_${layer + 1}`][1],
  }));
}

/** Read one symbol from each state: `[{logProbs, state}]`. */
export async function stepped(char, states, signal) {
  const inputs = { char: states.map(() => char) };
  for (const name of Object.keys(states[0])) inputs[name] = states.map((state) => state[name]);
  const outputs = await predict("char_lm", "step", inputs, signal);
  return states.map((_, row) => ({
    logProbs: outputs.log_probs[row],
    state: Object.fromEntries(Object.keys(states[0]).map((name) => [name, outputs[name][row]])),
  }));
}

let begun = null;

/** `{logProbs, state}` before any text, which is the same for every text and asked for once. */
export async function beginning(signal) {
  if (!begun) {
    const zeros = {};
    for (const { hidden, cell, units } of await layers(signal)) {
      zeros[hidden] = new Array(units).fill(0);
      zeros[cell] = new Array(units).fill(0);
    }
    [begun] = await stepped("", [zeros], signal);
  }
  return begun;
}

/** The state after a piece of text of whole symbols. */
export async function read(text, state, signal) {
  const inputs = { text: [text] };
  for (const name of Object.keys(state)) inputs[name] = [state[name]];
  const outputs = await predict("char_lm", "read", inputs, signal);
  return Object.fromEntries(Object.keys(state).map((name) => [name, outputs[name][0]]));
}

let spelled = null;

/** What the model's symbols stand for, bytes each. */
export async function spelling(signal) {
  if (!spelled) {
    const { symbols_bytes: rows } = await predict("char_lm", "encode", { text: [""] }, signal);
    spelled = rows[0].map(unpacked);
  }
  return spelled;
}

const decoder = new TextDecoder("utf-8");

/** A symbol as it is shown; a byte that is no character alone by its number. */
export function symbolText(bytes) {
  if (bytes.length === 1 && bytes[0] >= 128) return `\\x${bytes[0].toString(16)}`;
  return decoder.decode(bytes);
}
