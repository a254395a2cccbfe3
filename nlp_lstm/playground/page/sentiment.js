// Sentiment: the verdict after each word, the share of each word in it, and how open the gates were.

import { css, diverging, inkOn, onSchemeChange, sequential } from "./colours.js";
import { copyButtons, curlLine, pythonLine, pythonQuoted } from "./copy_lines.js";
import { byId, fixed, h, s, signed, tellIn } from "./elements.js";
import { legend } from "./heat_map.js";
import { Latest, predict, signatures } from "./protocol.js";
import { wordOfToken, words } from "./words.js";

const LONGEST_TEXT = 1000;
const MOST_CUTS = 127; // and the empty text: rows of one request
const EXAMPLE = "I expected little, and the first half hour is slow, but then it becomes one of the best films of the year.";
const GATES = ["forward_input", "forward_forget", "forward_output", "backward_input", "backward_forget", "backward_output"];

const TEMPLATE = () => [
  h("p", { class: "intro" },
    "Is this film review kind? The model reads it with two LSTMs, one from each end. The curve is what it would say if the text ended after each word."),
  h("label", { for: "mood-text" }, "A review"),
  h("textarea", { id: "mood-text", rows: "3", maxlength: LONGEST_TEXT }),
  h("div", { id: "mood-told", class: "told-above", role: "status" }),
  h("div", { id: "mood-shown", hidden: true },
    h("div", { class: "verdict" },
      h("span", { id: "mood-score", class: "big" }),
      h("span", { id: "mood-label", "aria-live": "polite" })),
    h("h2", {}, "Word by word"),
    h("figure", {},
      h("div", { id: "mood-chart", class: "scroll", tabindex: "0", role: "application", "aria-roledescription": "chart", "aria-label": "Words: move with the left and right arrow keys", "aria-describedby": "mood-help" }),
      h("div", { id: "mood-legend" }),
      h("figcaption", { id: "mood-help" },
        "Top: P(positive) of the text up to each word. Middle: the word’s share of the whole text’s verdict (log-odds), orange for, blue against. Below: the mean activity of each gate over its units while the word is read. Point at a word, or use the arrow keys. ",
        h("span", { id: "mood-way" }))),
    h("p", { id: "mood-word", class: "result-line", "aria-live": "polite" }),
    h("h2", {}, "The text, by shares"),
    h("p", { id: "mood-marked", class: "marked" }),
    h("p", { id: "mood-sum", class: "note" }),
    h("details", {}, h("summary", {}, "All numbers"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All numbers" }, h("table", { id: "mood-table" })))),
  h("div", { id: "mood-copy" }),
];

/** P(positive) after each word that is asked about: `scores[place]` or null, and how it was found. */
async function afterEachWord(text, listed, signal) {
  const known = await signatures("sentiment", signal);
  if (known.prefixes) {
    const { tokens, length, score } = await predict("sentiment", "prefixes", { text: [text] }, signal);
    const inner = tokens[0].slice(1, length[0] - 1);
    const scores = new Array(listed.length).fill(null);
    wordOfToken(text, listed, inner).forEach((word, place) => {
      const found = score[0][place + 1];
      scores[word] = found < 0 ? null : found;
    });
    return { empty: score[0][0] < 0 ? null : score[0][0], scores, way: "The model gives the curve itself (its signature prefixes)." };
  }
  const stride = Math.ceil(listed.length / MOST_CUTS);
  const places = listed.map((_, place) => place).filter((place) => (listed.length - 1 - place) % stride === 0);
  const cuts = ["", ...places.map((place) => text.slice(0, listed[place].end))];
  const { score } = await predict("sentiment", "serving_default", { text: cuts }, signal);
  const scores = new Array(listed.length).fill(null);
  places.forEach((place, row) => {
    scores[place] = score[row + 1];
  });
  const each = stride > 1 ? ` Of so many words only each ${stride}th was asked about.` : "";
  return { empty: score[0], scores, way: `This model’s version has no signature for the curve: the text was cut off after each word and asked about as ${cuts.length} rows of one request.${each}` };
}

export function sentimentPart(section, keep) {
  section.append(...TEMPLATE());
  const [text, told, shown, chart] = [byId("mood-text"), byId("mood-told"), byId("mood-shown"), byId("mood-chart")];
  let data = null;
  let chosen = null;

  const asking = new Latest("sentiment", tellIn(told));
  byId("mood-copy").append(
    copyButtons(() => ({
      curl: curlLine("sentiment", "explain", { text: [text.value] }),
      python: pythonLine(`explain([${pythonQuoted(text.value)}])`),
    })),
  );

  function ask(wait) {
    keep({ text: text.value });
    shown.classList.add("stale");
    const wanted = text.value;
    const listed = words(wanted);
    if (!data) told.textContent = "Asking …";
    asking.run(
      async (signal) => {
        const [outputs, after] = await Promise.all([
          predict("sentiment", "explain", { text: [wanted] }, signal),
          afterEachWord(wanted, listed, signal),
        ]);
        const end = outputs.length[0];
        const tokens = outputs.tokens[0].slice(1, end - 1);
        const wordOf = wordOfToken(wanted, listed, tokens);
        const shares = new Array(listed.length).fill(0);
        const counts = new Array(listed.length).fill(0);
        const gates = Object.fromEntries(GATES.map((name) => [name, new Array(listed.length).fill(0)]));
        wordOf.forEach((word, place) => {
          if (word >= listed.length) return;
          shares[word] += outputs.polarity[0][place + 1];
          counts[word] += 1;
          for (const name of GATES) gates[name][word] += outputs[name][0][place + 1];
        });
        for (const name of GATES) gates[name] = gates[name].map((sum, word) => (counts[word] ? sum / counts[word] : null));
        const borders = outputs.polarity[0][0] + outputs.polarity[0][end - 1];
        return { text: wanted, listed, shares, gates, borders, ...after, score: outputs.score[0], label: outputs.label[0], logit: outputs.logit[0], bias: outputs.bias[0] };
      },
      (answer) => {
        data = answer;
        chosen = chosen !== null && chosen < data.listed.length ? chosen : null;
        shown.hidden = false;
        shown.classList.remove("stale");
        draw();
      },
      wait,
    );
  }

  function draw() {
    if (!data || section.hidden) return;
    byId("mood-score").textContent = fixed(data.score, 3);
    byId("mood-label").textContent = `is P(positive): the model says ${data.label}.`;
    byId("mood-way").textContent = data.way;
    byId("mood-legend").replaceChildren(legend("input", 1));
    byId("mood-sum").textContent =
      `Shares add up: ${fixed(data.shares.reduce((sum, one) => sum + one, 0))} from the words, ${signed(data.borders)} from where the text begins and ends, ${signed(data.bias)} whatever the text, in all log-odds of ${fixed(data.logit)}, which is P = ${fixed(data.score, 3)}.`;
    const largest = Math.max(0.5, ...data.shares.map(Math.abs));
    byId("mood-marked").replaceChildren(
      ...data.listed.flatMap((word, place) => {
        const colour = diverging((0.8 * data.shares[place]) / largest);
        const mark = h("span", { title: signed(data.shares[place]) }, word.text);
        mark.style.background = css(colour);
        mark.style.color = inkOn(colour);
        return [mark, " "];
      }),
    );
    const head = ["Word", "P(positive) after it", "Share", "Input →", "Forget →", "Output →", "Input ←", "Forget ←", "Output ←"];
    byId("mood-table").replaceChildren(
      h("caption", {}, "→ the LSTM that reads forward, ← the one that reads backward; mean activity of the gates"),
      h("thead", {}, h("tr", {}, head.map((one, place) => h("th", { scope: "col", class: place ? false : "text" }, one)))),
      h("tbody", {}, data.listed.map((word, place) =>
        h("tr", {}, h("th", { scope: "row" }, word.text), h("td", {}, data.scores[place] === null ? "–" : fixed(data.scores[place], 3)), h("td", {}, signed(data.shares[place])),
          GATES.map((name) => h("td", {}, fixed(data.gates[name][place])))))),
    );
    drawChart();
  }

  function drawChart() {
    const { listed, scores, shares, gates } = data;
    const LEFT = 84;
    const WORDS = 96;
    const room = (chart.clientWidth || 900) - LEFT - 26;
    const column = Math.max(24, Math.min(72, room / (listed.length + 1)));
    const width = LEFT + column * (listed.length + 1) + 24;
    const x = (place) => LEFT + column * (place + 1.5);
    const curveTop = 14;
    const curveHeight = 190;
    const y = (score) => curveTop + curveHeight * (1 - score);
    const shareZero = curveTop + curveHeight + 66;
    const largest = Math.max(0.5, ...shares.map(Math.abs));
    const bar = (share) => (46 * Math.abs(share)) / largest;
    const wordsTop = shareZero + 56;
    const gatesTop = wordsTop + WORDS;
    const height = gatesTop + GATES.length * 19 + 10;
    const label = (text, at) => s("text", { x: LEFT - 12, y: at, "text-anchor": "end", "font-size": "12", class: "soft" }, text);
    const points = [[LEFT + column / 2, data.empty], ...scores.map((score, place) => [x(place), score])].filter(([, score]) => score !== null);
    const gateLabel = (name) => `${name.split("_")[1]} ${name.startsWith("forward") ? "→" : "←"}`;
    chart.replaceChildren(
      s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `P(positive) after each word, ending at ${fixed(data.score, 3)}` },
        [0, 0.5, 1].map((level) => [
          s("line", { class: "rule", x1: LEFT, x2: width - 20, y1: y(level), y2: y(level) }),
          label(["0 negative", "0.5", "1 positive"][level * 2], y(level) + 4),
        ]),
        s("polyline", { class: "curve", points: points.map(([px, score]) => `${px},${y(score)}`).join(" ") }),
        points.map(([px, score]) => s("circle", { class: "point", cx: px, cy: y(score), r: "3.5" })),
        label("share", shareZero + 4),
        s("line", { class: "rule", x1: LEFT, x2: width - 20, y1: shareZero, y2: shareZero }),
        shares.map((share, place) =>
          s("rect", { class: share > 0 ? "bar-warm" : "bar-cold", x: x(place) - column * 0.32, width: column * 0.64, y: share > 0 ? shareZero - bar(share) : shareZero, height: Math.max(0.5, bar(share)) })),
        listed.map((word, place) => {
          const told = [...word.text].length > 14 ? `${[...word.text].slice(0, 13).join("")}…` : word.text;
          return s("text", { x: x(place), y: wordsTop, "text-anchor": "end", "font-size": "13", transform: `rotate(-55 ${x(place)} ${wordsTop})` }, told);
        }),
        GATES.map((name, row) => [
          label(gateLabel(name), gatesTop + row * 19 + 13),
          gates[name].map((value, place) => {
            const rect = s("rect", { x: x(place) - column / 2 + 0.5, y: gatesTop + row * 19, width: column - 1, height: "18" });
            if (value === null) rect.setAttribute("class", "frame");
            else rect.style.fill = css(sequential(value));
            return rect;
          }),
        ]),
        chosen !== null && s("rect", { class: "cursor", x: x(chosen) - column / 2, y: "4", width: column, height: height - 8 }),
      ),
    );
    chart.dataset.column = column;
    chart.dataset.left = LEFT + column;
    const word = listed[chosen ?? listed.length - 1];
    if (!word) byId("mood-word").textContent = "";
    else {
      const place = chosen ?? listed.length - 1;
      const after = scores[place] === null ? "" : `P(positive) ${fixed(scores[place], 3)} after it, `;
      byId("mood-word").textContent =
        `“${word.text}”: ${after}share ${signed(shares[place])}; reading forward input ${fixed(gates.forward_input[place])}, forget ${fixed(gates.forward_forget[place])}, output ${fixed(gates.forward_output[place])}.`;
    }
  }

  function choose(place) {
    if (!data?.listed.length) return;
    const next = Math.min(Math.max(place, 0), data.listed.length - 1);
    if (next === chosen) return;
    chosen = next;
    drawChart();
  }

  chart.addEventListener("pointermove", (event) => {
    const at = event.clientX - chart.getBoundingClientRect().left + chart.scrollLeft - Number(chart.dataset.left);
    if (at >= 0) choose(Math.floor(at / Number(chart.dataset.column)));
  });
  chart.addEventListener("keydown", (event) => {
    const last = (data?.listed.length ?? 1) - 1;
    const here = chosen ?? last;
    const place = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
    if (place === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(place);
    const column = Number(chart.dataset.column);
    const at = Number(chart.dataset.left) + column * chosen;
    if (at < chart.scrollLeft || at + column > chart.scrollLeft + chart.clientWidth) chart.scrollLeft = at - chart.clientWidth / 2;
  });
  text.addEventListener("input", () => {
    chosen = null;
    ask(120);
  });
  onSchemeChange(draw);
  window.addEventListener("resize", draw);

  return {
    draw,
    open(wanted) {
      text.value = (wanted.get("text") ?? EXAMPLE).slice(0, LONGEST_TEXT);
      ask(0);
    },
  };
}
