// The conversation as one reads a play: who, when, what; tool calls and interruptions as stage directions.

import { heardLetters, joined } from "./fragments.js";

const SPEAKERS = { user: "You", assistant: "duologue" };

export class Transcript {
  constructor(list) {
    this.list = list;
    this.rows = new Map();
  }

  clear() {
    this.list.replaceChildren();
    this.rows.clear();
  }

  /** Shows `entry`, new or changed. The list follows its end unless the reader has scrolled away. */
  show(entry) {
    const following = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 80;
    if (!this.rows.has(entry.id)) this.#append(entry);
    const row = this.rows.get(entry.id);
    row.className = `entry ${entry.kind}${entry.partial ? " partial" : ""}${entry.cut ? " cut" : ""}`;
    row.ariaBusy = String(entry.partial); // a screen reader waits until the line is complete
    fill[entry.kind](row, entry);
    if (following) this.list.scrollTop = this.list.scrollHeight;
  }

  #append(entry) {
    const row = document.getElementById(`${entry.kind === "tool" ? "tool" : "entry"}-template`).content.cloneNode(true)
      .firstElementChild;
    row.parts = Object.fromEntries([...row.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node]));
    this.rows.set(entry.id, row);
    this.list.append(row);
  }
}

const fill = {
  user(row, entry) {
    lead(row, entry);
    const words = joined(entry);
    put(row.parts.heard, words);
    put(row.parts.aside, entry.problem ? `(not understood: ${entry.problem})` : !entry.partial && !words ? "(no words)" : "");
  },

  assistant(row, entry) {
    lead(row, entry);
    const words = joined(entry);
    const letters = nextWord(words, entry.cut?.heardLetters ?? heardLetters(entry));
    put(row.parts.heard, words.slice(0, letters));
    put(row.parts.coming, entry.cut ? "" : words.slice(letters));
    put(row.parts.lost, entry.cut ? words.slice(letters) : "");
    put(row.parts.aside, entry.cut?.playedMs == null ? "" : `cut after ${seconds(entry.cut.playedMs)}`);
    put(row.parts.latency, entry.latencyMs == null ? "" : seconds(entry.latencyMs));
    row.parts.latency.title = entry.latencyMs == null ? "" : "answered after";
  },

  tool(row, entry) {
    put(row.parts.time, clock(entry.startS));
    put(row.parts.name, entry.name ?? "");
    put(row.parts.took, entry.endS === null ? "…" : seconds((entry.endS - entry.startS) * 1000));
    row.parts.arguments.replaceChildren(...argumentRows(entry.arguments));
    put(row.parts.output, entry.output === null ? "" : readable(entry.output));
  },

  note: remark,
  problem: remark,
};

function remark(row, entry) {
  put(row.parts.time, clock(entry.startS));
  put(row.parts.aside, entry.text);
}

function lead(row, entry) {
  put(row.parts.time, clock(entry.startS));
  put(row.parts.speaker, SPEAKERS[entry.kind]);
}

/** Where the next word begins, so that no space is struck through. */
function nextWord(words, letters) {
  return letters + words.slice(letters).search(/\S|$/);
}

/** Writes only what differs, so that a screen reader hears only what is new. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function argumentRows(text) {
  const values = parsed(text);
  if (values === null || typeof values !== "object") return [document.createTextNode(text)];
  return Object.entries(values).flatMap(([name, value]) => [element("dt", name), element("dd", readable(value))]);
}

function element(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

/** A value, or JSON text, as a person reads it: names and values without braces and quotes. */
function readable(value) {
  const inner = typeof value === "string" ? (parsed(value) ?? value) : value;
  if (inner === null || typeof inner !== "object") return String(inner);
  if (Array.isArray(inner)) return inner.map(readable).join(", ");
  return Object.entries(inner).map(([name, v]) => `${name}: ${nested(v)}`).join(" · ");
}

function nested(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? `(${readable(value)})` : readable(value);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function seconds(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** Seconds from the start as minutes and seconds: 75.2 → "1:15". */
export function clock(s) {
  const whole = Math.max(0, Math.floor(s));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
