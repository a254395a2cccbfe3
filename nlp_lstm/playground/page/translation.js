// Translation: what is typed, in German, where the model looked for each piece of it, and other translations.

import { number } from "./address.js";
import { css, inkOn, onSchemeChange, sequential } from "./colours.js";
import { copyButtons, curlLine, pythonLine, pythonQuoted } from "./copy_lines.js";
import { byId, fixed, h, tellIn } from "./elements.js";
import { Latest, predict } from "./protocol.js";

const LONGEST_TEXT = 400;
const DEFAULT_BEAM = 5; // that of `explain`
const EXAMPLE = "A young girl in a red dress is playing with a small dog on the beach.";

const TEMPLATE = () => [
  h("p", { class: "intro" },
    "From English to German, by a model that learned from captions of photographs. It writes the translation piece by piece, and weighs the pieces of your sentence anew for each."),
  h("label", { for: "tr-text" }, "A sentence in English"),
  h("textarea", { id: "tr-text", rows: "2", maxlength: LONGEST_TEXT }),
  h("div", { class: "controls" },
    h("div", { class: "wide" },
      h("label", { for: "tr-beam", id: "tr-beam-label" }, "Beam size"),
      h("input", { type: "range", id: "tr-beam", min: "1", max: "16", step: "1", value: DEFAULT_BEAM }))),
  h("div", { id: "tr-told", class: "told-above", role: "status" }),
  h("div", { id: "tr-shown", hidden: true },
    h("p", { id: "tr-best", class: "translated", lang: "de", "aria-live": "polite" }),
    h("h2", {}, "What it found"),
    h("div", { id: "tr-list-told", class: "told-above", role: "status" }),
    h("ol", { id: "tr-list", class: "n-best" }),
    h("p", { class: "note" }, "The numbers are log-probabilities by the length penalty: nearer 0 is likelier. The search keeps as many candidates at once as the beam is wide."),
    h("h2", {}, "Where it looked"),
    h("p", { id: "tr-other", class: "note", hidden: true }),
    h("p", { class: "note" }, "Point at a piece, or move with Tab and the arrow keys. A piece of the translation shows how it weighed the sentence; a piece of the sentence shows by which pieces of the translation it was weighed. Pieces that touch are one word; </s> is the end."),
    h("span", { class: "label", id: "tr-target-label" }, "Translation"),
    h("div", { id: "tr-target", class: "pieces", role: "group", "aria-labelledby": "tr-target-label" }),
    h("span", { class: "label", id: "tr-source-label" }, "Your sentence"),
    h("div", { id: "tr-source", class: "pieces", role: "group", "aria-labelledby": "tr-source-label" }),
    h("p", { id: "tr-summary", class: "result-line", "aria-live": "polite" }),
    h("h3", {}, "All steps"),
    h("p", { class: "note" }, "Each row is a step of writing, its weights over your sentence adding up to 1. This is what the model tells of a step; the candidates that a beam held and dropped on the way are not among it."),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Attention of all steps" }, h("table", { id: "tr-table", class: "attention" }))),
  h("div", { id: "tr-copy" }),
];

/** The step that looked hardest at one piece, the sentence's end left out: what is shown at first. */
function surest(attention) {
  const inner = attention.length > 1 ? attention.slice(0, -1) : attention;
  const most = inner[0].map((_, step) => Math.max(...inner.map((row) => row[step])));
  return most.indexOf(Math.max(...most));
}

/** A piece without the mark of a word's beginning. */
function bare(piece) {
  return piece.replace(/^▁(?=.)/u, "");
}

export function translationPart(section, keep) {
  section.append(...TEMPLATE());
  const [text, told, shown, beam] = [byId("tr-text"), byId("tr-told"), byId("tr-shown"), byId("tr-beam")];
  const list = byId("tr-list");
  let data = null;
  let found = null; // of `data`: the best translations with their scores, once they are there
  let chosen = { side: "target", place: 0 };

  const tell = tellIn(told);
  const tellOfList = tellIn(byId("tr-list-told"));
  const asking = new Latest("translation", (kind, message) => {
    tell(kind, message);
    if (kind === "error") showList(found ?? []);
  });
  const listing = new Latest("translation", (kind, message) => {
    tellOfList(kind, message);
    if (kind === "error") showList([]); // those of another text, or beam, must not stay
  });
  byId("tr-copy").append(
    copyButtons(() => ({
      curl: curlLine("translation", "n_best", { text: [text.value], beam_size: [Number(beam.value)] }),
      python: pythonLine(`n_best([${pythonQuoted(text.value)}], beam_size=${beam.value})`),
    })),
  );

  function keepSettings() {
    keep({ text: text.value, beam: beam.value });
    byId("tr-beam-label").textContent = `Beam size: ${beam.value}`;
  }

  function ask(wait) {
    keepSettings();
    listing.stop();
    shown.classList.add("stale");
    const wanted = text.value;
    if (!data) told.textContent = "Asking …";
    asking.run(
      async (signal) => {
        const looked = await predict("translation", "explain", { text: [wanted] }, signal);
        const [source, target] = [looked.source_length[0], looked.target_length[0]];
        return {
          text: wanted,
          explained: looked.translation[0],
          source: looked.source_pieces[0].slice(0, source),
          target: looked.target_pieces[0].slice(0, target),
          attention: looked.attention[0].slice(0, source).map((row) => row.slice(0, target)),
        };
      },
      (answer) => {
        data = answer;
        found = null;
        chosen = { side: "target", place: surest(data.attention) };
        shown.hidden = false;
        shown.classList.remove("stale");
        draw();
        askForOthers(0);
      },
      wait,
    );
  }

  /** The other translations come behind the first, which must not wait for them. */
  function askForOthers(wait) {
    keepSettings();
    const [wanted, size] = [data.text, Number(beam.value)];
    list.setAttribute("aria-busy", "true");
    list.classList.add("stale");
    // Room for what comes, so that what is below stays where it is.
    if (!list.children.length) list.replaceChildren(...Array.from({ length: size }, () => h("li", {}, "…")));
    listing.run(
      async (signal) => {
        const best = await predict("translation", "n_best", { text: [wanted], beam_size: [size] }, signal);
        return best.translations[0]
          .map((translation, place) => ({ translation, score: best.scores[0][place] }))
          .filter(({ score }) => score > -1e8);
      },
      (answer) => {
        found = answer;
        showList(found);
        drawBest();
      },
      wait,
    );
  }

  function showList(listed) {
    list.replaceChildren(
      ...listed.map(({ translation, score }) =>
        h("li", {}, h("span", { lang: "de" }, translation || "(nothing)"), h("span", { class: "score" }, fixed(score, 3)))),
    );
    list.classList.remove("stale");
    list.setAttribute("aria-busy", "false");
  }

  function drawBest() {
    const first = found ? (found[0]?.translation ?? "") : data.explained;
    const best = byId("tr-best");
    if (best.textContent !== (first || "–")) best.textContent = first || "–"; // read out only where it is another
    byId("tr-other").hidden = first === data.explained;
    byId("tr-other").textContent = `The model tells what it looked at for the translation that a beam of ${DEFAULT_BEAM} finds: “${data.explained}”`;
  }

  function draw() {
    if (!data) return;
    drawBest();
    for (const side of ["target", "source"]) {
      byId(`tr-${side}`).replaceChildren(
        ...data[side].map((piece, place) =>
          h("button", {
            type: "button", "data-place": place, lang: side === "target" ? "de" : "en",
            onpointerenter: () => choose(side, place), onfocus: () => choose(side, place), onclick: () => choose(side, place),
            class: /^(▁|<\/s>$|$)/u.test(data[side][place + 1] ?? "") ? false : "joined",
          }, bare(piece), h("small", {}, ""))),
      );
    }
    byId("tr-table").replaceChildren(
      h("caption", { class: "visually-hidden" }, "Weights of the pieces of the sentence at each step of writing"),
      h("thead", {}, h("tr", {}, h("td", {}), data.source.map((piece) => h("th", { scope: "col" }, bare(piece))))),
      h("tbody", {}, data.target.map((piece, step) =>
        h("tr", {}, h("th", { scope: "row", lang: "de" }, bare(piece)), data.source.map((_, place) => {
          const weight = data.attention[place][step];
          const cell = h("td", {}, weight < 0.005 ? "0" : fixed(weight));
          const colour = sequential(weight);
          cell.style.background = css(colour);
          cell.style.color = inkOn(colour);
          return cell;
        })))),
    );
    shade();
  }

  function choose(side, place) {
    if (chosen.side === side && chosen.place === place) return;
    chosen = { side, place };
    shade();
  }

  function shade() {
    const { side, place } = chosen;
    const other = side === "target" ? "source" : "target";
    const weights = data[other].map((_, at) => (side === "target" ? data.attention[at][place] : data.attention[place][at]));
    for (const [which, values] of [[side, null], [other, weights]]) {
      [...byId(`tr-${which}`).children].forEach((button, at) => {
        button.setAttribute("aria-pressed", String(which === side && at === place));
        const number = button.querySelector("small");
        number.textContent = values ? fixed(values[at]) : "";
        if (values) {
          const colour = sequential(values[at]);
          button.style.background = css(colour);
          button.style.color = inkOn(colour);
        } else {
          button.style.background = "";
          button.style.color = "";
        }
      });
    }
    const most = weights.map((weight, at) => [weight, data[other][at]]).sort((one, two) => two[0] - one[0]).slice(0, 3);
    const listed = most.map(([weight, piece]) => `“${bare(piece)}” ${fixed(weight)}`).join(", ");
    byId("tr-summary").textContent =
      side === "target"
        ? `For “${bare(data.target[place])}” it looked most at ${listed}.`
        : `“${bare(data.source[place])}” was looked at most for ${listed}.`;
  }

  for (const side of ["target", "source"]) {
    byId(`tr-${side}`).addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? data[side].length - 1 : Number(event.target.dataset.place) + step;
      if (!Number.isFinite(next)) return;
      event.preventDefault();
      byId(`tr-${side}`).children[Math.min(Math.max(next, 0), data[side].length - 1)].focus();
    });
  }
  text.addEventListener("input", () => ask(200));
  beam.addEventListener("input", () => (data?.text === text.value ? askForOthers(200) : ask(200)));
  onSchemeChange(draw);

  return {
    open(wanted) {
      text.value = (wanted.get("text") ?? EXAMPLE).slice(0, LONGEST_TEXT);
      beam.value = number(wanted, "beam", DEFAULT_BEAM, 1, 16);
      ask(0);
    },
  };
}
