// Writing: character after character by `step`, and what else could have stood in each place.

import { number } from "./address.js";
import { copyButtons, curlLine, pythonLine, pythonQuoted } from "./copy_lines.js";
import { byId, fixed, h, percent, spoken, visible } from "./elements.js";
import { Latest } from "./protocol.js";
import { PythonRandom, chances, restricted, sample } from "./sampling.js";
import { beginning, read, spelling, stepped, symbolText } from "./state.js";

const LONGEST_PROMPT = 1000;
const SHOWN = 10;

const SETTINGS = {
  temperature: { label: "Temperature", value: 0.8, least: 0, most: 2, step: 0.05, told: "0: always the likeliest" },
  top_k: { label: "Top k", value: 0, least: 0, most: 60, step: 1, told: "0: no limit" },
  top_p: { label: "Top p", value: 1, least: 0.05, most: 1, step: 0.05, told: "1: no limit" },
  seed: { label: "Seed", value: 7, least: 0, most: 2147483647, step: 1 },
  length: { label: "Characters", value: 200, least: 1, most: 400, step: 1 },
};

const TEMPLATE = () => [
  h("p", { class: "intro" },
    "The same character model goes on with your text. It says how likely each character is to come next; one is drawn, read, and so on. Pick a character to see what else could have stood there, and go on from another."),
  h("label", { for: "write-prompt" }, "The text begins"),
  h("textarea", { id: "write-prompt", class: "text-in", rows: "2", maxlength: LONGEST_PROMPT, spellcheck: "false" }),
  h("div", { class: "controls" },
    Object.entries(SETTINGS).map(([name, one]) =>
      h("div", {},
        h("label", { for: `write-${name}` }, one.label),
        h("input", { type: "number", id: `write-${name}`, min: one.least, max: one.most, step: one.step, value: one.value, title: one.told }))),
    h("div", {}, h("label", { for: "write-stop" }, "Stop before"), h("input", { type: "text", id: "write-stop", size: "10", spellcheck: "false", "aria-describedby": "write-stop-help" })),
    h("button", { type: "button", id: "write-run" }, "Write"),
    h("button", { type: "button", id: "write-halt", class: "quiet", disabled: true }, "Halt")),
  h("p", { class: "note", id: "write-stop-help" },
    "Temperature 0 takes the likeliest, top k 0 and top p 1 set no limit. In “stop before”, \\n is a line break. Ctrl + Enter in the text writes."),
  h("div", { id: "write-told", class: "told-above", role: "status" }),
  h("div", { class: "two" },
    h("div", {},
      h("div", { id: "write-text", class: "written", tabindex: "0", role: "application", "aria-label": "What is written: move from character to character with the arrow keys" }),
      h("p", { class: "note" },
        "Your text is grey. Click a character, or walk with the arrow keys; Enter leads to the alternatives.")),
    h("div", { id: "write-place", hidden: true },
      h("h2", { id: "write-heading", class: "small" }),
      h("p", { class: "note" }, "Probability by the model → with your settings. Choose one to go on from there."),
      h("ul", { id: "write-choices", class: "bars wide-share" }),
      h("p", { id: "write-summary", class: "note", "aria-live": "polite" }))),
  h("p", { class: "note" },
    "The characters are drawn in this page, since it needs each step’s probabilities: with Python’s generator and the rules of ",
    h("code", {}, "Client.stream"),
    ", so the Python line below writes the same text. The server’s own ",
    h("code", {}, "generate"),
    ", which the curl line asks, draws with another generator: another text, by the same rules."),
  h("div", { id: "write-copy" }),
];

export function writingPart(section, keep) {
  section.append(...TEMPLATE());
  const [prompt, told, output] = [byId("write-prompt"), byId("write-told"), byId("write-text")];
  let written = []; // {symbol, text, logProbs}: log-probabilities before it was drawn
  let begun = ""; // the prompt that is written on
  let how = null;
  let chosen = -1;
  let byHand = false;
  let symbols = [];

  const asking = new Latest("char_lm", (kind, message) => {
    told.className = `told-above ${kind}`;
    if (message) told.textContent = message;
    if (kind === "error") byId("write-halt").disabled = true;
  });

  function value(name) {
    const { value: fallback, least, most } = SETTINGS[name];
    const given = byId(`write-${name}`).valueAsNumber;
    const kept = Number.isFinite(given) ? Math.min(Math.max(given, least), most) : fallback;
    return ["temperature", "top_p"].includes(name) ? kept : Math.trunc(kept);
  }

  const stop = () => byId("write-stop").value.replaceAll("\\n", "\n");

  function settings() {
    const numbers = Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, value(name)]));
    return { text: prompt.value, ...numbers, ...(byId("write-stop").value ? { stop: byId("write-stop").value } : {}) };
  }

  byId("write-copy").append(
    copyButtons(() => {
      const { temperature, top_k: topK, top_p: topP, seed, length } = settings();
      return {
        curl: curlLine("char_lm", "generate", {
          prompt: [prompt.value], length: [length], temperature: [temperature], top_k: [topK], top_p: [topP], seed: [seed],
        }),
        python: pythonLine(
          `stream(${pythonQuoted(prompt.value)}, length=${length}, temperature=${temperature}, top_k=${topK}, top_p=${topP}, seed=${seed}, stop=${pythonQuoted(stop())})`,
        ).replace("print(client", 'print("".join(client').replace(/$/, ")"),
      };
    }),
  );

  function write() {
    keep(settings());
    begun = prompt.value;
    how = { temperature: value("temperature"), topK: value("top_k"), topP: value("top_p") };
    const [length, seed, end] = [value("length"), value("seed"), stop()];
    written = [];
    chosen = -1;
    byHand = false;
    redraw();
    byId("write-halt").disabled = false;
    told.className = "told-above";
    told.textContent = "Writing …";
    asking.run(
      async (signal) => {
        // A request that failed is made again as a whole, so all begins anew.
        written = [];
        redraw();
        const bytes = await spelling(signal);
        symbols = bytes.map(symbolText);
        let { logProbs, state } = await beginning(signal);
        const chars = [...begun];
        if (chars.length > 1) state = await read(chars.slice(0, -1).join(""), state, signal);
        if (chars.length) [{ logProbs, state }] = await stepped(chars.at(-1), [state], signal);
        const draws = new PythonRandom(seed);
        const decoder = new TextDecoder();
        let all = "";
        let open = []; // bytes of a character that is not whole yet
        for (let place = 0; place < length; place += 1) {
          const allowed = restricted(logProbs, bytes, open);
          const symbol = sample(allowed, how, draws.random());
          const piece = decoder.decode(bytes[symbol], { stream: true });
          open = piece ? [] : [...open, ...bytes[symbol]];
          all += piece;
          written.push({ symbol, text: symbols[symbol], logProbs: allowed });
          const at = end ? all.indexOf(end) : -1;
          if (at >= 0) {
            written = written.slice(0, Math.max(0, written.length - (all.length - at)));
            redraw();
            break;
          }
          append();
          if (place === length - 1) break;
          const char = bytes.length === 256 ? { b64: btoa(String.fromCharCode(...bytes[symbol])) } : symbols[symbol];
          [{ logProbs, state }] = await stepped(char, [state], signal);
        }
        return written.length;
      },
      (count) => finished(`${count} characters.`),
    );
  }

  function finished(message) {
    byId("write-halt").disabled = true;
    const nats = written.reduce((sum, one) => sum - one.logProbs[one.symbol], 0);
    const bits = written.length ? ` The model finds them likely at ${fixed(nats / written.length / Math.LN2)} bits a character.` : "";
    told.textContent = message + bits;
    if (chosen < 0 && written.length) choose(written.length - 1, false);
  }

  function span(place) {
    return h("span", { "data-place": place }, written[place].text);
  }

  function redraw() {
    output.replaceChildren(h("span", { class: "prompt" }, begun), ...written.map((_, place) => span(place)));
    byId("write-place").hidden = true;
  }

  function append() {
    output.append(span(written.length - 1));
    if (!byHand) choose(written.length - 1, false);
  }

  function choose(place, hand = true) {
    if (!written[place]) return;
    output.querySelector(".chosen")?.classList.remove("chosen");
    output.querySelector(`[data-place="${place}"]`)?.classList.add("chosen");
    chosen = place;
    byHand ||= hand;
    const { symbol, logProbs } = written[place];
    const drawn = new Map(chances(logProbs, how).map((one) => [one.symbol, one.share]));
    const order = logProbs.map((_, other) => other).sort((one, other) => logProbs[other] - logProbs[one]);
    const listed = order.filter((other) => Number.isFinite(logProbs[other])).slice(0, SHOWN);
    if (!listed.includes(symbol)) listed.push(symbol);
    const most = Math.exp(logProbs[listed[0]]);
    byId("write-place").hidden = false;
    byId("write-heading").textContent = `Instead of “${visible(symbols[symbol])}”, character ${place + 1}`;
    byId("write-choices").replaceChildren(
      ...listed.map((other) => {
        const share = Math.exp(logProbs[other]);
        const fill = h("span", { class: "fill" });
        fill.style.width = `${(100 * share) / most}%`;
        return h("li", { class: other === symbol ? "taken" : false },
          h("button", { type: "button", class: "char", "aria-label": `Go on from ${spoken(symbols[other])}, ${percent(share)}`, onclick: () => goOn(place, other) }, visible(symbols[other])),
          h("span", { class: "track", "aria-hidden": "true" }, fill),
          h("span", { class: "share" }, `${percent(share)} → ${drawn.has(other) ? percent(drawn.get(other)) : "never"}`));
      }),
    );
    if (hand) byId("write-summary").textContent = `“${spoken(symbols[symbol])}” had ${percent(Math.exp(logProbs[symbol]))}.`;
  }

  /** What is kept, and the symbol chosen, are the beginning of a new text: its line and its link write it again. */
  function goOn(place, symbol) {
    const kept = written.slice(0, place).map((one) => one.text).join("");
    prompt.value = [...(begun + kept + symbols[symbol])].slice(-LONGEST_PROMPT).join("");
    write();
    output.focus();
  }

  output.addEventListener("click", (event) => {
    const place = event.target.closest("[data-place]")?.dataset.place;
    if (place !== undefined) choose(Number(place));
  });
  output.addEventListener("keydown", (event) => {
    const last = written.length - 1;
    const place = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, ArrowUp: chosen - 10, ArrowDown: chosen + 10, Home: 0, End: last }[event.key];
    if (place !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      choose(Math.min(Math.max(place, 0), last));
      event.preventDefault();
    } else if (event.key === "Enter") {
      byId("write-choices").querySelector("button")?.focus();
      event.preventDefault();
    }
  });
  byId("write-run").addEventListener("click", write);
  byId("write-halt").addEventListener("click", () => {
    asking.stop();
    finished(`Halted after ${written.length} characters.`);
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      write();
    }
  });
  for (const id of ["write-prompt", "write-stop", ...Object.keys(SETTINGS).map((name) => `write-${name}`)]) {
    byId(id).addEventListener("input", () => keep(settings()));
  }

  return {
    open(wanted) {
      prompt.value = (wanted.get("text") ?? "ROMEO:\n").slice(0, LONGEST_PROMPT);
      for (const [name, one] of Object.entries(SETTINGS)) {
        byId(`write-${name}`).value = number(wanted, name, one.value, one.least, one.most);
      }
      byId("write-stop").value = wanted.get("stop") ?? "";
      write();
    },
  };
}
