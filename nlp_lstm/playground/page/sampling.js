// Drawing symbols as `nlp_lstm.client` does it for `stream`, number for number, so that its line writes the same text.

/** Python's `random.Random(seed)`: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), 53 bits a number. */
export class PythonRandom {
  #state = new Uint32Array(624);
  #place = 624;

  constructor(seed) {
    const state = this.#state;
    state[0] = 19650218;
    for (let i = 1; i < 624; i += 1) {
      const last = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = Math.imul(1812433253, last) + i;
    }
    const whole = Math.abs(Math.trunc(seed));
    const key = whole >= 2 ** 32 ? [whole % 2 ** 32, Math.floor(whole / 2 ** 32)] : [whole];
    let i = 1;
    let j = 0;
    const turn = () => {
      i += 1;
      if (i >= 624) {
        state[0] = state[623];
        i = 1;
      }
    };
    for (let count = 0; count < 624; count += 1) {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1664525)) + key[j] + j;
      j = (j + 1) % key.length;
      turn();
    }
    for (let count = 0; count < 623; count += 1) {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1566083941)) - i;
      turn();
    }
    state[0] = 0x80000000;
  }

  #next() {
    const state = this.#state;
    if (this.#place === 624) {
      for (let i = 0; i < 624; i += 1) {
        const joined = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
      }
      this.#place = 0;
    }
    let value = state[this.#place];
    this.#place += 1;
    value ^= value >>> 11;
    value ^= (value << 7) & 0x9d2c5680;
    value ^= (value << 15) & 0xefc60000;
    return (value ^ (value >>> 18)) >>> 0;
  }

  /** In [0, 1). */
  random() {
    const high = this.#next() >>> 5;
    return (high * 67108864 + (this.#next() >>> 6)) / 9007199254740992;
  }
}

/** What may be drawn and with which probability, the likeliest first: `[{symbol, share}]`. */
export function chances(logProbs, { temperature, topK, topP }) {
  let order = logProbs.map((_, symbol) => symbol).filter((symbol) => logProbs[symbol] > -Infinity);
  order.sort((one, other) => logProbs[other] - logProbs[one] || one - other);
  if (temperature <= 0) return [{ symbol: order[0], share: 1, reach: 1 }];
  if (topK > 0) order = order.slice(0, topK);
  let sum = 0;
  const laid = order.map((symbol) => {
    const mass = Math.exp((logProbs[symbol] - logProbs[order[0]]) / temperature);
    sum += mass;
    return { symbol, share: mass, reach: sum };
  });
  const kept = topP < 1 ? laid.filter(({ share, reach }) => reach - share < topP * sum) : laid;
  const all = kept.at(-1)?.reach ?? sum;
  return kept.map(({ symbol, share, reach }) => ({ symbol, share: share / all, reach, all }));
}

/** The symbol that `uniform`, in [0, 1), points at. */
export function sample(logProbs, how, uniform) {
  const laid = chances(logProbs, how);
  const at = uniform * (laid.at(-1).reach ?? 1);
  return (laid.find(({ reach }) => reach > at) ?? laid.at(-1)).symbol;
}

/** Log-probabilities with −Infinity where a symbol must not be written: the unknown one, or what breaks UTF-8. */
export function restricted(logProbs, spelling, begun) {
  if (spelling.length !== 256) return logProbs.map((value, symbol) => (symbol === 0 ? -Infinity : value));
  return logProbs.map((value, symbol) => {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.of(...begun, ...spelling[symbol]), { stream: true });
      return value;
    } catch {
      return -Infinity;
    }
  });
}
