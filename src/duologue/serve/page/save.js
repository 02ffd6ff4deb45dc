// The conversation as files: a stereo wav and a JSON of everything that happened.

import { joined } from "./fragments.js";

export function saveWav(call) {
  save(call.recording.toWav(), "wav");
}

export function saveJson(call, events) {
  const text = JSON.stringify({ ...account(call), events }, null, 1);
  save(new Blob([text], { type: "application/json" }), "json");
}

/** The call as values: utterances as a `duologue.Dialogue` has them, tool calls, latencies. Times in seconds. */
export function account({ conversation, latencies, startedAt }) {
  const { entries, session } = conversation;
  const tools = entries.filter((e) => e.kind === "tool");
  return {
    started_at: startedAt,
    model: session?.model ?? null,
    utterances: entries.filter((e) => e.kind === "user" || e.kind === "assistant").map(utterance),
    tool_calls: tools.map(toolCall),
    latencies_ms: latencies.valuesMs,
    latency_is: "last voiced 10 ms of the person to first audible 10 ms of the reply, plus the loudspeaker's delay",
  };
}

function toolCall({ id, name, arguments: text, output, startS }) {
  return { call_id: id, name, arguments: text, output, at_s: startS };
}

/** Of a reply that was cut, only what was heard. */
function utterance(entry) {
  const text = entry.cut ? joined(entry).slice(0, entry.cut.heardLetters) : joined(entry);
  const endS = Math.max(entry.startS, entry.endS ?? entry.startS);
  return { speaker: entry.kind, start_s: entry.startS, end_s: endS, text, cut: Boolean(entry.cut) };
}

function save(blob, extension) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `duologue-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
