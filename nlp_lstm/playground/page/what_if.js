// One gate of one unit held at 0 or 1, carried forward by the model's own `step`.

import { cellToHandIn } from "./equations.js";
import { stepped } from "./state.js";

export const LONGEST = 40;

// Far from 0, so that a forget gate that is nearly shut is not lost beside what is added.
const PROBE = 16384;

/** Why a wish cannot be had by what `step` takes and gives, or "". */
export function impossible(gate, held, span) {
  if (gate === "output" && held === 1) {
    return (
      "An output gate held at 1 is not offered: step takes a cell state, and no cell state makes a hidden state " +
      "larger than the model’s own output gate lets through."
    );
  }
  if (gate === "input" && held === 1 && span === "all") {
    return (
      "An input gate held at 1 is offered for one step only: in later steps the candidate of the changed run is " +
      "needed, and step tells it only multiplied by the input gate."
    );
  }
  return "";
}

function withCell(state, name, unit, value) {
  const cells = state[name].slice();
  cells[unit] = value;
  return { ...state, [name]: cells };
}

/**
 * Read on from `step`, once as the text is and once with the gate held. `before` is the state before the chosen step,
 * `place` is `{cell, hidden, unit}`, the names and the number within the layer; `now` is that unit's own step.
 * `tell(done, all)` is called on the way. Gives for each character `{plain, changed}`: log-probabilities of what follows,
 * the unit's cell and hidden state.
 */
export async function carriedForward({ chars, step, before, place, now, gate, held, span }, tell, signal) {
  const end = Math.min(chars.length, step + LONGEST);
  const { cell, hidden, unit } = place;
  const told = [];
  let plain = before;
  let changed = before;
  for (let time = step; time < end; time += 1) {
    let handed = changed;
    let wanted = null;
    const isHeld = time === step || span === "all";
    if (isHeld) {
      const cellBefore = changed[cell][unit];
      let own;
      if (time === step) {
        own = { forget: now.forget, added: now.added, candidate: now.candidate, cellBefore };
      } else {
        // c = f · c_before + i · g, and no gate reads the cell state: two points give the line.
        const probes = [0, PROBE].map((value) => withCell(changed, cell, unit, value));
        const [low, high] = await stepped(chars[time], probes, signal);
        const added = low.state[cell][unit];
        own = { forget: (high.state[cell][unit] - added) / PROBE, added, cellBefore };
      }
      if (own.forget < 1e-5 && !(gate === "forget" && held === 0)) {
        throw new Error("the forget gate of this unit is so nearly shut that no cell state can stand for the change");
      }
      handed = withCell(changed, cell, unit, cellToHandIn(gate, held, own));
      wanted = {
        forget: () => (held === 0 ? 0 : cellBefore) + own.added,
        input: () => own.forget * cellBefore + (held === 0 ? 0 : own.candidate),
        output: () => own.forget * cellBefore + own.added,
      }[gate]();
    }
    const [one, other] = await stepped(chars[time], [plain, handed], signal);
    plain = one.state;
    changed = other.state;
    if (isHeld && gate === "output") {
      changed = withCell(changed, cell, unit, wanted); // only what leaves the cell was to be shut in
    } else if (isHeld && Math.abs(changed[cell][unit] - wanted) > 1e-3) {
      throw new Error("the model's arithmetic did not give the cell state that the held gate would");
    }
    told.push({
      plain: { logProbs: one.logProbs, cell: plain[cell][unit], hidden: plain[hidden][unit] },
      changed: { logProbs: other.logProbs, cell: changed[cell][unit], hidden: changed[hidden][unit] },
    });
    tell(time - step + 1, end - step);
  }
  return told;
}
