// What each event of the protocol means for the conversation `c`; events without an entry here mean nothing to a person.

import { duplex } from "./duplex.js";
import { add, joined } from "./fragments.js";
import { RATE_HZ, decodeBase64 } from "./pcm.js";

const configured = (c, { session }) => (c.session = session);
const called = (c, { item }) => item.type === "function_call" && c.toolCalled(item);

export const reactions = {
  "session.created": configured,
  "session.updated": configured,

  // ------------------------------------------------------------ the person's turn

  "input_audio_buffer.speech_started"(c, { item_id, audio_start_ms }) {
    c.userSpeaking = true;
    c.awaiting = false;
    const startS = c.player.onsetS(c.player.laneS(audio_start_ms)); // the server's moment includes its pre-roll
    c.entry(item_id, "user", { startS });
    c.interrupt("turn_detected");
  },

  "input_audio_buffer.speech_stopped"(c, { item_id, audio_end_ms }) {
    c.userSpeaking = false;
    c.awaiting = true;
    c.entry(item_id, "user").endS = c.player.laneS(audio_end_ms);
  },

  "input_audio_buffer.committed"(c, { item_id }) {
    c.entry(item_id, "user", c.pressed ?? {});
    c.pressed = null;
  },

  "conversation.item.input_audio_transcription.delta"(c, { item_id, delta }) {
    const entry = c.entry(item_id, "user");
    add(entry, delta, 0);
    c.changed(entry);
  },

  "conversation.item.input_audio_transcription.completed"(c, { item_id, transcript }) {
    const text = transcript.trim();
    const entry = c.entry(item_id, "user");
    c.changed(Object.assign(entry, { fragments: [{ text, atSamples: 0 }], partial: false }));
    if (text === "" && !c.response) c.awaiting = false;
  },

  "conversation.item.input_audio_transcription.failed"(c, { item_id, error }) {
    c.changed(Object.assign(c.entry(item_id, "user"), { partial: false, problem: error.message }));
    if (!c.response) c.awaiting = false;
  },

  // ------------------------------------------------------------ the reply

  "response.created"(c, { response }) {
    c.response = response;
    c.awaiting = true;
  },

  "response.output_item.added": called,
  "response.output_item.done": called,
  "response.function_call_arguments.done": (c, call) => c.toolCalled(call),
  "conversation.item.added": (c, { item }) => item.type === "function_call_output" && c.toolReturned(item),

  "response.output_audio_transcript.delta": written,
  "response.output_text.delta": written,

  "response.output_text.done"(c, { item_id }) {
    const entry = c.byId.get(item_id);
    if (entry) c.changed(Object.assign(entry, { finished: true, partial: false, textOnly: true, endS: c.clock() }));
  },

  "response.output_audio.delta"(c, event) {
    if (c.cutResponses.has(event.response_id)) return;
    const entry = message(c, event);
    const pcm = decodeBase64(event.delta);
    c.player.play(event.item_id, pcm);
    Object.assign(entry, { contentIndex: event.content_index, receivedSamples: entry.receivedSamples + pcm.length });
  },

  "response.output_audio.done"(c, { response_id, item_id }) {
    const entry = c.byId.get(item_id);
    if (!entry || c.cutResponses.has(response_id)) return;
    entry.received = true;
    c.player.end(item_id);
  },

  "response.done"(c, { response }) {
    if (c.response?.id === response.id) c.response = null;
    c.awaiting = false;
    c.entries.filter((entry) => entry.responseId === response.id).forEach((entry) => settle(c, entry, response.status));
    const reason = response.status_details?.error?.message ?? response.status_details?.reason;
    if (response.status === "failed") c.note(`The reply failed: ${reason ?? "the server does not say why"}.`, "problem");
    if (response.status === "incomplete") c.note(`The reply ends early: ${reason ?? "incomplete"}.`);
  },

  // ------------------------------------------------------------ what is remembered of a reply that was cut

  "conversation.item.truncated": (c, { item_id }) => c.send({ type: "conversation.item.retrieve", item_id }),

  "conversation.item.retrieved"(c, { item }) {
    const entry = c.byId.get(item.id);
    const remembered = item.content?.[0]?.transcript?.trimEnd() ?? "";
    if (!entry?.cut || !joined(entry).startsWith(remembered)) return;
    entry.cut.heardLetters = remembered.length;
    c.changed(entry);
  },

  error(c, { error }) {
    if (error.code !== "response_cancel_not_active") c.note(error.message, "problem");
  },

  ...duplex,
};

/** The entry of the message that the event belongs to; it appears with its first words or sound. */
function message(c, { item_id, response_id }) {
  const fields = { responseId: response_id, receivedSamples: 0, playedSamples: 0, finished: false, cut: null };
  return c.entry(item_id, "assistant", fields);
}

function written(c, event) {
  if (event.delta === "" || c.cutResponses.has(event.response_id)) return;
  const entry = message(c, event);
  const { start_time } = event;
  add(entry, event.delta, start_time === undefined ? entry.receivedSamples : Math.round(start_time * RATE_HZ));
  c.changed(entry);
}

/** A reply that the server cut stops here too; one that ended without sound has nothing left to play. */
function settle(c, entry, status) {
  if (status === "cancelled" && !entry.cut && !entry.finished) c.interrupt("turn_detected");
  else if (entry.receivedSamples === 0 && !entry.cut) {
    c.changed(Object.assign(entry, { finished: true, partial: false, endS: entry.endS ?? c.clock() }));
  }
}
