// Two lanes of sound scrolling by: you above, duologue below. Between them the wait of each turn; over both what overlapped.

import { BINS_PER_S } from "./recording.js";
import { clock, seconds } from "./transcript.js";

const PIXELS_PER_S = 64;
const BAR_PIXELS = 3;
const AXIS_PIXELS = 20;
const GAP_PIXELS = 26;
const TOP_PIXELS = 18;

export class Timeline {
  /** `scene()` gives the call to draw (its nowS, recording, conversation), or null before the first one. */
  constructor(canvas, scene) {
    this.canvas = canvas;
    this.scene = scene;
    this.pen = canvas.getContext("2d");
    this.behindS = 0; // how far back the view is; 0 follows the present
    canvas.onpointermove = (e) => e.buttons && this.pan(e.movementX / PIXELS_PER_S);
    canvas.onwheel = (e) => this.pan(-(e.deltaX || (e.shiftKey ? e.deltaY : 0)) / PIXELS_PER_S);
    canvas.onkeydown = (e) => this.pan({ ArrowLeft: 1, ArrowRight: -1, End: -Infinity }[e.key] ?? 0);
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").onchange = () => this.draw();
  }

  pan(byS) {
    this.behindS = Math.max(0, Math.min(this.behindS + byS, this.scene()?.nowS ?? 0));
    this.draw();
  }

  draw() {
    this.#fit();
    const scene = this.scene() ?? { nowS: 0, recording: null, conversation: null };
    const rightS = scene.nowS - this.behindS;
    this.rightS = Math.max(rightS, this.width / PIXELS_PER_S);
    this.leftS = this.rightS - this.width / PIXELS_PER_S;
    this.#axis();
    if (scene.recording === null) return;
    const { entries, marks } = scene.conversation;
    this.#spans(entries, scene.nowS);
    this.#lane(scene.recording.you, this.lanes.user, "--you");
    this.#lane(scene.recording.duologue, this.lanes.assistant, "--duologue");
    entries.filter((e) => e.waited).forEach((e) => this.#wait(e));
    marks.forEach((mark) => this.#mark(mark));
    if (this.behindS === 0 && scene.nowS > 0) this.#present(scene.nowS);
  }

  /** Sizes the canvas to its box and the screen's pixels, and reads the colours of the moment. */
  #fit() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = devicePixelRatio;
    Object.assign(this.canvas, { width: clientWidth * ratio, height: clientHeight * ratio });
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = clientWidth;
    const half = (clientHeight - AXIS_PIXELS - GAP_PIXELS - TOP_PIXELS) / 4;
    this.bottom = clientHeight - AXIS_PIXELS;
    this.lanes = {
      user: { middle: TOP_PIXELS + half, half },
      assistant: { middle: TOP_PIXELS + 3 * half + GAP_PIXELS, half },
    };
    const style = getComputedStyle(this.canvas);
    this.colour = (name) => style.getPropertyValue(name);
    this.pen.font = `11px ${this.colour("--sans")}`;
  }

  #x(s) {
    return (s - this.leftS) * PIXELS_PER_S;
  }

  #axis() {
    for (const { middle } of Object.values(this.lanes)) this.#box(0, middle - 0.5, this.width, 1, "--faint");
    for (let s = Math.ceil(this.leftS); s <= this.rightS; s++) {
      const long = s % 5 === 0;
      this.#box(this.#x(s), this.bottom, 1, long ? 6 : 3, "--faint");
      if (long && s > 0) this.#text(clock(s), this.#x(s) + 4, this.bottom + 14, "--quiet");
    }
  }

  /** A soft band behind each turn; where both speak, a hatched one over both lanes. */
  #spans(entries, nowS) {
    const turns = entries.filter((e) => (e.kind === "user" && !e.typed) || e.audible);
    for (const turn of turns) this.#band(turn, nowS);
    const [yours, mine] = ["user", "assistant"].map((kind) => turns.filter((e) => e.kind === kind));
    for (const a of yours) for (const b of mine) this.#overlap(a, b, nowS);
  }

  #band({ kind, startS, endS }, nowS) {
    const { middle, half } = this.lanes[kind];
    const [left, right] = [this.#x(startS), this.#x(endS ?? nowS)];
    this.pen.beginPath();
    this.pen.roundRect(left, middle - half, right - left, 2 * half, 5);
    this.pen.fillStyle = this.colour(kind === "user" ? "--you-soft" : "--duologue-soft");
    this.pen.fill();
  }

  #overlap(a, b, nowS) {
    const startS = Math.max(a.startS, b.startS);
    const endS = Math.min(a.endS ?? nowS, b.endS ?? nowS);
    if (endS <= startS) return;
    const [left, right] = [this.#x(startS), this.#x(endS)];
    const top = this.lanes.user.middle - this.lanes.user.half;
    this.pen.save();
    this.pen.beginPath();
    this.pen.rect(left, top, right - left, this.bottom - top);
    this.pen.clip();
    this.pen.strokeStyle = this.colour("--overlap");
    this.pen.beginPath();
    for (let x = left - this.bottom; x < right; x += 5) {
      this.pen.moveTo(x, this.bottom);
      this.pen.lineTo(x + this.bottom, 0);
    }
    this.pen.stroke();
    this.pen.restore();
  }

  /** One rounded bar for every three pixels, as high as the loudest sample in them. */
  #lane(lane, { middle, half }, colour) {
    const binsPerBar = (BAR_PIXELS * BINS_PER_S) / PIXELS_PER_S;
    const first = Math.max(0, Math.floor((this.leftS * BINS_PER_S) / binsPerBar));
    this.pen.fillStyle = this.colour(colour);
    for (let bar = first; (bar + 1) * binsPerBar <= lane.length; bar++) {
      const x = this.#x((bar * binsPerBar) / BINS_PER_S);
      if (x > this.width) break;
      const bins = lane.peaks.subarray(Math.floor(bar * binsPerBar), Math.floor((bar + 1) * binsPerBar));
      const height = Math.max(...bins) ** 0.6 * (half - 2);
      if (height >= 0.8) this.pen.fillRect(x, middle - height, BAR_PIXELS - 1, 2 * height);
    }
  }

  #wait({ waited, latencyMs }) {
    const [left, right] = [this.#x(waited.fromS), this.#x(waited.toS)];
    const y = this.lanes.user.middle + this.lanes.user.half + GAP_PIXELS / 2;
    this.#box(left, y - 0.5, right - left, 1, "--quiet");
    for (const x of [left, right]) this.#box(x - 0.5, y - 4, 1, 8, "--quiet");
    this.#text(seconds(latencyMs), right + 6, y + 4, "--ink");
  }

  #mark({ kind, atS, label }) {
    const x = this.#x(atS);
    const { middle, half } = this.lanes.assistant;
    const y = kind === "cut" ? middle - half : TOP_PIXELS - 8;
    const colour = kind === "cut" ? "--alarm" : "--tool";
    const top = kind === "cut" ? this.lanes.user.middle - this.lanes.user.half : TOP_PIXELS;
    this.#box(x - 0.5, top, 1, this.bottom - top, colour);
    if (kind === "cut") this.#text("✕ cut", x + 5, y + 10, colour);
    else this.#diamond(x, y, label, colour);
  }

  #diamond(x, y, label, colour) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.beginPath();
    for (const [dx, dy] of [[0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]]) this.pen.lineTo(x + dx, y + dy);
    this.pen.fill();
    this.#text(label, x + 9, y + 4, colour);
  }

  #present(nowS) {
    this.#box(this.#x(nowS) - 1, TOP_PIXELS, 1, this.bottom - TOP_PIXELS, "--quiet");
  }

  #box(x, y, width, height, colour) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.fillRect(x, y, width, height);
  }

  #text(text, x, y, colour) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.fillText(text, x, y);
  }
}
