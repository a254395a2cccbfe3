// The arithmetic of one unit: what the page derives from the values that `gates` gives.

export const QUANTITIES = ["input", "forget", "candidate", "output", "cell", "hidden"];

/** What stood within σ where σ gave `value`; infinite where 32 bits round to 0 or 1. */
export function logit(value) {
  return Math.log(value) - Math.log1p(-value);
}

/** One unit at one step, `before` being its cell state from the step before. */
export function unitStep(gates, step, unit, cellBefore) {
  const one = { cellBefore };
  for (const name of QUANTITIES) one[name] = gates[name][step][unit];
  one.kept = one.forget * cellBefore;
  one.added = one.input * one.candidate;
  one.squashed = Math.tanh(one.cell);
  one.inputLogit = logit(one.input);
  one.forgetLogit = logit(one.forget);
  one.outputLogit = logit(one.output);
  one.candidateWithin = Math.atanh(one.candidate);
  // A model with normalised layers takes its tanh of something else than the cell state alone.
  one.holds =
    Math.abs(one.kept + one.added - one.cell) < 1e-3 && Math.abs(one.output * one.squashed - one.hidden) < 1e-3;
  return one;
}

/** How far a unit goes in all, over the steps. */
export function movement(rows, unit) {
  let sum = 0;
  for (let step = 1; step < rows.length; step += 1) sum += Math.abs(rows[step][unit] - rows[step - 1][unit]);
  return sum;
}

/** Pearson's r of a unit and a property of the text; 0 where one of them does not change. */
export function correlation(rows, unit, property) {
  const count = rows.length;
  let sumX = 0;
  let sumY = 0;
  for (let step = 0; step < count; step += 1) {
    sumX += rows[step][unit];
    sumY += property[step];
  }
  let xx = 0;
  let yy = 0;
  let xy = 0;
  for (let step = 0; step < count; step += 1) {
    const x = rows[step][unit] - sumX / count;
    const y = property[step] - sumY / count;
    xx += x * x;
    yy += y * y;
    xy += x * y;
  }
  return xx > 1e-12 && yy > 1e-12 ? xy / Math.sqrt(xx * yy) : 0;
}

function since(chars, isStart) {
  let count = 0;
  return chars.map((char) => {
    count = isStart(char) ? 0 : count + 1;
    return count;
  });
}

/** Properties of a text, a number after each character, and what they are called. */
export const PROPERTIES = {
  line_position: ["characters since the line began", (chars) => since(chars, (char) => char === "\n")],
  word_position: ["characters since the last space", (chars) => since(chars, (char) => /\s/u.test(char))],
  upper_case: ["upper case", (chars) => chars.map((char) => Number(/\p{Lu}/u.test(char)))],
  space: ["a space or a line break", (chars) => chars.map((char) => Number(/\s/u.test(char)))],
  vowel: ["a vowel", (chars) => chars.map((char) => Number(/[aeiou]/iu.test(char)))],
  position: ["characters since the text began", (chars) => chars.map((_, place) => place)],
};

/**
 * The cell state to hand to `step` in place of a unit's own, so that the model itself computes the step as if one gate
 * had the value `held`. `now` is the unit without that: its forget gate, what is added (input times candidate), its
 * cell state before; for the input gate held at 1, its candidate too.
 */
export function cellToHandIn(gate, held, now) {
  const { forget, added, cellBefore } = now;
  if (gate === "forget") return held === 0 ? 0 : cellBefore / forget;
  if (gate === "input") return cellBefore + (held === 0 ? -added : now.candidate - added) / forget;
  if (gate === "output") return -added / forget; // then the cell is 0, and so is what leaves it
  throw new Error(`no gate ${gate}`);
}

/** Kullback and Leibler's divergence of two distributions given by natural logarithms, in bits. */
export function divergence(before, after) {
  let sum = 0;
  for (let symbol = 0; symbol < before.length; symbol += 1) {
    const share = Math.exp(before[symbol]);
    if (share > 0) sum += share * (before[symbol] - after[symbol]);
  }
  return Math.max(0, sum / Math.LN2);
}
