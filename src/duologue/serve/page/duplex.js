// What each message of a full-duplex session means for the conversation `c`. Its sound never pauses: what comes between
// `said` and `done` belongs to that reply, all else to nobody.

import { add, joined } from "./fragments.js";
import { RATE_HZ, level } from "./pcm.js";

const MOST_IN_HAND_MS = 240;
const SILENT = 0.003; // of full scale, −50 dBFS
const NOBODY = "nobody";

export const duplex = {
  ready: (c, { system }) => (c.session = { model: system }),
  event: (c, event) => happened[event.kind]?.(c, event),

  /** After a stall more waits than is needed; silence is left out until no more does. */
  output_audio(c, { pcm }) {
    const silent = level(pcm) < SILENT;
    if (silent && c.player.inHandMs > MOST_IN_HAND_MS) return;
    const entry = c.sounding;
    c.player.play(entry?.id ?? NOBODY, pcm);
    if (!entry) return;
    entry.receivedSamples += pcm.length;
    entry.silentSamples = silent ? entry.silentSamples + pcm.length : 0;
  },
};

const happened = {
  turn(c, { turn, start_s, end_s }) {
    if (!(end_s > start_s)) return; // nobody asked: duologue speaks by itself
    c.awaiting = true;
    const startS = c.player.onsetS(c.player.laneS(start_s * 1000));
    c.changed(Object.assign(asked(c, turn), { startS, endS: c.player.laneS(end_s * 1000) }));
  },

  heard(c, { turn, text }) {
    c.changed(Object.assign(asked(c, turn), { fragments: [{ text: text.trim(), atSamples: 0 }], partial: false }));
  },

  wrote: (c, { turn, text }) => (reply(c, turn).written += text),

  said(c, { turn, text }) {
    const entry = reply(c, turn);
    c.sounding = entry;
    add(entry, text, entry.receivedSamples);
    c.changed(entry);
  },

  done(c, { turn, latency }) {
    const entry = reply(c, turn);
    c.sounding = null;
    c.awaiting = false;
    if (entry.fragments.length === 0) add(entry, entry.written, 0);
    understood(c, turn);
    c.player.end(entry.id);
    c.changed(Object.assign(entry, { received: true, record: latency ?? null }));
  },

  stopped(c, { turn, reason, heard_text }) {
    const entry = reply(c, turn);
    c.sounding = null;
    const words = joined(entry);
    if (entry.written.startsWith(words)) add(entry, entry.written.slice(words.length), entry.receivedSamples);
    understood(c, turn);
    const atS = c.clock() + c.player.inHandMs / 1000 - entry.silentSamples / RATE_HZ; // what is in hand is played
    const playedMs = Math.round((entry.receivedSamples - entry.silentSamples) / (RATE_HZ / 1000));
    entry.cut = { atS, playedMs, reason, heardLetters: (heard_text ?? words).trimEnd().length };
    c.marks.push({ kind: "cut", atS, label: "cut" });
    c.changed(Object.assign(entry, { endS: atS, finished: true, partial: false }));
  },

  tool_call: (c, call) => c.toolCalled(call),
  tool_result: (c, result) => c.toolReturned(result),
  failed: (c, { message }) => c.note(`The reply failed: ${message}.`, "problem"),
};

const asked = (c, turn) => c.entry(`user_${turn}`, "user");

/** Of a turn whose reply is over, no more words will be told. */
function understood(c, turn) {
  const entry = c.byId.get(`user_${turn}`);
  if (entry?.partial) c.changed(Object.assign(entry, { partial: false }));
}

function reply(c, turn) {
  const id = `reply_${turn}`;
  const counts = { receivedSamples: 0, silentSamples: 0, playedSamples: 0 }; // silent: at its end
  return c.entry(id, "assistant", { responseId: id, written: "", ...counts, finished: false, cut: null });
}
