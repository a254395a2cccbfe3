// A heat map on a canvas: units down, characters across, with one field chosen by pointer or by arrow keys.

import { css, diverging, sequential } from "./colours.js";
import { h, visible } from "./elements.js";

const FIELD = 16;
const TOP = 24;

/** Red, green and blue of a value of a gate (0 to 1) or of a state (−`largest` to `largest`). */
export function colourOf(value, quantity, largest) {
  return ["input", "forget", "output"].includes(quantity) ? sequential(value) : diverging(value / largest);
}

/**
 * `choose(step, row)` is called for what is chosen; `show(data)` draws `{chars, units, rows, quantity, largest, step,
 * row}`, `rows` being values by step and unit; without `largest` each unit has its own.
 */
export class HeatMap {
  constructor(choose, describedBy) {
    this.choose = choose;
    this.canvas = h("canvas", {
      class: "heat",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "heat map",
      "aria-label": "Units by characters: move with the arrow keys",
      "aria-describedby": describedBy,
    });
    // The units' numbers stay in sight where the characters are wider than the screen.
    this.labels = h("canvas", { class: "heat-units", "aria-hidden": "true" });
    this.element = h("div", { class: "scroll heat-scroll" }, this.labels, this.canvas);
    this.canvas.addEventListener("pointerdown", (event) => this.#point(event));
    this.canvas.addEventListener("pointermove", (event) => event.buttons === 1 && this.#point(event));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #point(event) {
    if (!this.data) return;
    const box = this.canvas.getBoundingClientRect();
    const step = Math.floor((event.clientX - box.left) / this.width);
    const row = Math.floor((event.clientY - box.top - TOP) / FIELD);
    const { chars, units } = this.data;
    this.choose(Math.min(Math.max(step, 0), chars.length - 1), Math.min(Math.max(row, 0), units.length - 1));
  }

  #key(event) {
    if (!this.data || event.ctrlKey || event.metaKey || event.altKey) return;
    const { chars, units, step, row } = this.data;
    const moves = {
      ArrowLeft: [step - 1, row],
      ArrowRight: [step + 1, row],
      ArrowUp: [step, row - 1],
      ArrowDown: [step, row + 1],
      Home: [0, row],
      End: [chars.length - 1, row],
      PageUp: [step, row - 8],
      PageDown: [step, row + 8],
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.choose(Math.min(Math.max(move[0], 0), chars.length - 1), Math.min(Math.max(move[1], 0), units.length - 1));
  }

  show(data) {
    this.data = data;
    const { chars, units, rows, quantity, largest, step, row } = data;
    const left = largest ? 46 : 92;
    const room = (this.element.clientWidth || 900) - left - 2;
    this.width = Math.min(24, Math.max(13, Math.floor(room / chars.length)));
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink");
    const soft = style.getPropertyValue("--soft");
    const height = TOP + units.length * FIELD + 2;
    const ofUnit = new Map(units.map((unit) => [unit, largest ?? Math.max(0.05, ...rows.map((one) => Math.abs(one[unit])))]));

    const side = sized(this.labels, left, height);
    side.textBaseline = "middle";
    side.font = "12px system-ui, 'Liberation Sans', sans-serif";
    units.forEach((unit, place) => {
      side.fillStyle = place === row ? ink : soft;
      const y = TOP + (place + 0.5) * FIELD;
      side.textAlign = "right";
      side.fillText(String(unit), 36, y);
      if (!largest) side.fillText(`±${ofUnit.get(unit).toFixed(1)}`, 84, y);
    });

    const context = sized(this.canvas, chars.length * this.width + 2, height);
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.font = "13px ui-monospace, Menlo, Consolas, 'Liberation Mono', monospace";
    chars.forEach((char, place) => {
      context.fillStyle = place === step ? ink : soft;
      context.fillText(visible(char), 1 + (place + 0.5) * this.width, TOP / 2);
    });
    units.forEach((unit, place) => {
      for (let time = 0; time < chars.length; time += 1) {
        context.fillStyle = css(colourOf(rows[time][unit], quantity, ofUnit.get(unit)));
        context.fillRect(1 + time * this.width, TOP + place * FIELD, this.width - 1, FIELD - 1);
      }
    });
    if (row >= 0) {
      context.strokeStyle = ink;
      context.lineWidth = 1;
      context.strokeRect(0.5, TOP + row * FIELD - 0.5, chars.length * this.width, FIELD);
      context.strokeRect(step * this.width + 0.5, TOP - 0.5, this.width, units.length * FIELD);
      context.lineWidth = 2.5;
      context.strokeRect(step * this.width + 0.5, TOP + row * FIELD - 0.5, this.width, FIELD);
    }
  }

  /** Bring the chosen step into sight. */
  reveal() {
    const { step } = this.data;
    const x = this.labels.offsetWidth + step * this.width;
    const box = this.element;
    if (x < box.scrollLeft + this.labels.offsetWidth || x + this.width > box.scrollLeft + box.clientWidth) {
      box.scrollLeft = Math.max(0, x - box.clientWidth / 2);
    }
  }
}

/** The context of a canvas of so many CSS pixels, as sharp as the screen. */
function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return context;
}

/** A strip of the scale with its ends in numbers. */
export function legend(quantity, largest) {
  const canvas = h("canvas", { width: "160", height: "12", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const isGate = ["input", "forget", "output"].includes(quantity);
  for (let x = 0; x < 160; x += 1) {
    const share = x / 159;
    context.fillStyle = css(isGate ? sequential(share) : diverging(2 * share - 1));
    context.fillRect(x, 0, 1, 12);
  }
  const ends = isGate ? ["gates: 0, shut", "1, open"] : largest ? [`−${largest.toFixed(1)}`, `+${largest.toFixed(1)}`] : ["−", "+ as far as the unit goes, beside its number"];
  return h("div", { class: "legend" }, h("span", {}, ends[0]), canvas, h("span", {}, ends[1]));
}
