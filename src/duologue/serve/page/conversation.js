// What is going on: server events and what the loudspeaker did become entries (turns, tool calls, notes).
// No DOM, no sound, no socket here: `send` and `player` are given, `changed(entry)` tells that an entry is new or other.

import { heardLetters } from "./fragments.js";
import { RATE_HZ } from "./pcm.js";
import { reactions } from "./reactions.js";

export class Conversation {
  constructor({ send, player, changed, clock }) {
    Object.assign(this, { send, player, changed, clock });
    this.entries = [];
    this.byId = new Map();
    this.marks = []; // {kind: "tool" | "cut", atS, label}
    this.session = null;
    this.response = null; // the one in progress
    this.cutResponses = new Set();
    this.awaiting = false; // a turn of the person is complete, its reply has not begun
    this.userSpeaking = false;
    this.playing = false;
    this.sounding = null; // in full duplex: the reply that the sound belongs to which comes now
    this.pressed = null; // where the turn lies that was spoken while holding a key
  }

  get state() {
    if (this.playing) return "speaking";
    if ((this.awaiting || this.response) && !this.userSpeaking) return "thinking";
    return "listening";
  }

  // ------------------------------------------------------------ what the server says

  receive(event) {
    reactions[event.type]?.(this, event);
    if (event.duologue) this.#private(event);
  }

  /** duologue's own servers add a `duologue` object to some events: latencies, and calls they executed themselves. */
  #private({ duologue, item, item_id, response }) {
    if (duologue.tool_call) this.toolCalled(duologue.tool_call);
    if (duologue.tool_result) this.toolReturned(duologue.tool_result);
    const spoken = item_id ?? item?.id ?? response?.output?.findLast((o) => o.type === "message")?.id;
    const entry = this.byId.get(spoken);
    if (duologue.latency && entry?.kind === "assistant") this.changed(Object.assign(entry, { record: duologue.latency }));
  }

  entry(id, kind, fields = {}) {
    if (!this.byId.has(id)) {
      const entry = { id, kind, startS: this.clock(), endS: null, fragments: [], partial: true, ...fields };
      this.byId.set(id, entry);
      this.entries.push(entry);
    }
    const entry = this.byId.get(id);
    this.changed(entry);
    return entry;
  }

  note(text, kind = "note") {
    this.entry(`note_${this.entries.length}`, kind, { text, partial: false });
  }

  toolCalled({ call_id, name, arguments: text }) {
    const known = this.byId.has(call_id);
    const call = this.entry(call_id, "tool", { name, arguments: "", output: null });
    Object.assign(call, { name: name ?? call.name, arguments: text || call.arguments });
    if (!known) this.marks.push({ kind: "tool", atS: call.startS, label: call.name });
    this.changed(call);
  }

  toolReturned({ call_id, output }) {
    const call = this.byId.get(call_id);
    if (call) this.changed(Object.assign(call, { output, endS: this.clock(), partial: false }));
  }

  // ------------------------------------------------------------ what the person does

  /** Sends typed words and asks for the answer. */
  type(text) {
    this.interrupt("client_cancelled");
    const id = `item_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
    this.entry(id, "user", { typed: true, partial: false, endS: this.clock(), fragments: [{ text, atSamples: 0 }] });
    const content = [{ type: "input_text", text }];
    this.send({ type: "conversation.item.create", item: { id, type: "message", role: "user", content } });
    this.send({ type: "response.create" });
    this.awaiting = true;
  }

  /** A turn spoken while holding a key is complete: `span` is where it lies in the recording. */
  spoke(span) {
    this.pressed = span;
    this.awaiting = true;
    this.send({ type: "input_audio_buffer.commit" });
    this.send({ type: "response.create" });
  }

  /** Stops the reply at once: nothing more of it is played, and the server learns how much was. */
  interrupt(reason) {
    const speaking = this.entries.filter((e) => e.kind === "assistant" && !e.finished && !e.cut);
    if (this.response && reason === "client_cancelled") {
      this.send({ type: "response.cancel", response_id: this.response.id });
      this.cutResponses.add(this.response.id);
    }
    for (const entry of speaking) this.cutResponses.add(entry.responseId);
    if (speaking.length === 0) return;
    for (const entry of speaking) entry.cut = { atS: this.clock(), playedMs: null, reason };
    this.player.stop();
  }

  // ------------------------------------------------------------ what the loudspeaker does

  playback(message) {
    if (message.type === "started") this.#started(message);
    if (message.type === "stopped") this.#stopped(message);
    if (message.type === "finished") this.#finished(message);
    if (message.type === "played") this.#played(message);
  }

  #started({ item, atS }) {
    const entry = this.byId.get(item);
    if (!entry) return;
    this.awaiting = false;
    this.changed(Object.assign(entry, { startS: atS, audible: true }));
  }

  #played({ item, playedSamples, playing }) {
    const entry = this.byId.get(item);
    this.playing = playing && entry !== undefined;
    if (!this.playing || entry.cut) return;
    entry.playedSamples = playedSamples;
    this.changed(entry);
  }

  #finished({ item, atS }) {
    this.playing = false;
    const entry = this.byId.get(item);
    if (!entry || entry.cut) return;
    const endS = atS - (entry.silentSamples ?? 0) / RATE_HZ;
    Object.assign(entry, { finished: true, endS, playedSamples: entry.receivedSamples, partial: false });
    this.changed(entry);
  }

  /** The moment of truth of an interruption: `playedSamples` of `item` left the loudspeaker's queue. */
  #stopped({ item, playedSamples, atS }) {
    this.playing = false;
    for (const entry of this.entries.filter((e) => e.cut?.playedMs === null)) {
      const samples = entry.id === item ? playedSamples : 0;
      this.#cut(entry, Math.max(0, Math.floor(samples / (RATE_HZ / 1000) - this.player.outputLatencyMs)), atS);
    }
  }

  #cut(entry, playedMs, atS) {
    Object.assign(entry.cut, { playedMs, atS });
    Object.assign(entry, { endS: atS, finished: true, partial: false, playedSamples: (playedMs * RATE_HZ) / 1000 });
    entry.cut.heardLetters = heardLetters(entry);
    this.marks.push({ kind: "cut", atS, label: "cut" });
    const at = { item_id: entry.id, content_index: entry.contentIndex ?? 0, audio_end_ms: playedMs };
    this.send({ type: "conversation.item.truncate", ...at });
    this.changed(entry);
  }
}
