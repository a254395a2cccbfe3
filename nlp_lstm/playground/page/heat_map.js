// A heat map on a canvas: units down, characters across, with one field chosen by pointer or by arrow keys.

import { css, diverging, sequential } from "./colours.js";
import { h, visible } from "./elements.js";

const FIELD = 16;
const TOP = 24;
const LEFT = 52;

/** Red, green and blue of a value of a gate (0 to 1) or of a state (−`largest` to `largest`). */
export function colourOf(value, quantity, largest) {
  return ["input", "forget", "output"].includes(quantity) ? sequential(value) : diverging(value / largest);
}

/**
 * `choose(step, row)` is called for what is chosen; `show(data)` draws `{chars, units, rows, quantity, largest, step,
 * row}`, `rows` being values by step and unit.
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
    this.element = h("div", { class: "scroll heat-scroll" }, this.canvas);
    this.canvas.addEventListener("pointerdown", (event) => this.#point(event));
    this.canvas.addEventListener("pointermove", (event) => event.buttons === 1 && this.#point(event));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #point(event) {
    if (!this.data) return;
    const box = this.canvas.getBoundingClientRect();
    const step = Math.floor((event.clientX - box.left - LEFT) / this.width);
    const row = Math.floor((event.clientY - box.top - TOP) / FIELD);
    const { chars, units } = this.data;
    if (row < 0 && step < 0) return;
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
    const room = (this.element.clientWidth || 900) - LEFT - 2;
    this.width = Math.min(24, Math.max(13, Math.floor(room / chars.length)));
    const width = LEFT + chars.length * this.width + 2;
    const height = TOP + units.length * FIELD + 2;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink");
    const soft = style.getPropertyValue("--soft");
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.font = "13px ui-monospace, Menlo, Consolas, 'Liberation Mono', monospace";
    chars.forEach((char, place) => {
      context.fillStyle = place === step ? ink : soft;
      context.fillText(visible(char), LEFT + (place + 0.5) * this.width, TOP / 2);
    });
    context.textAlign = "right";
    context.font = "12px system-ui, 'Liberation Sans', sans-serif";
    units.forEach((unit, place) => {
      context.fillStyle = place === row ? ink : soft;
      context.fillText(String(unit), LEFT - 8, TOP + (place + 0.5) * FIELD);
      for (let time = 0; time < chars.length; time += 1) {
        context.fillStyle = css(colourOf(rows[time][unit], quantity, largest));
        context.fillRect(LEFT + time * this.width, TOP + place * FIELD, this.width - 1, FIELD - 1);
      }
    });
    if (row >= 0) {
      context.strokeStyle = ink;
      context.lineWidth = 1;
      context.strokeRect(LEFT - 0.5, TOP + row * FIELD - 0.5, chars.length * this.width, FIELD);
      context.strokeRect(LEFT + step * this.width - 0.5, TOP - 0.5, this.width, units.length * FIELD);
      context.lineWidth = 2.5;
      context.strokeRect(LEFT + step * this.width - 1, TOP + row * FIELD - 1, this.width + 1, FIELD + 1);
    }
  }

  /** Bring the chosen step into sight. */
  reveal() {
    const { step } = this.data;
    const x = LEFT + step * this.width;
    const box = this.element;
    if (x < box.scrollLeft + LEFT || x + this.width > box.scrollLeft + box.clientWidth) {
      box.scrollLeft = Math.max(0, x - box.clientWidth / 2);
    }
  }
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
  const ends = isGate ? ["0, shut", "1, open"] : [`−${largest.toFixed(1)}`, `+${largest.toFixed(1)}`];
  return h("div", { class: "legend" }, h("span", {}, ends[0]), canvas, h("span", {}, ends[1]));
}
