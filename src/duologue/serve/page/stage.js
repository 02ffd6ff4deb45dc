// The round button, what it says about the call, and the figures beside it.

import { seconds } from "./transcript.js";

const STATES = {
  idle: { label: "Start", name: "Ready", hint: "Your voice goes to this server only." },
  connecting: { label: "Cancel", name: "Connecting", hint: "The browser may ask for the microphone." },
  listening: { label: "Stop", name: "Listening", hint: "Just speak." },
  thinking: { label: "Stop", name: "Thinking", hint: "Your turn is complete." },
  speaking: { label: "Stop", name: "Speaking", hint: "Speak to interrupt." },
  error: { label: "Start again", name: "Something is wrong", hint: "" },
};
const PUSHED = {
  listening: { name: "Ready for you", hint: "Hold Space, or this button, and speak.", label: "Hold" },
  talking: { name: "Listening", hint: "Let go when you are done.", label: "Talking" },
};
const TYPED = {
  listening: { name: "Waiting for your words", hint: "No microphone in this call: type." },
  speaking: { hint: "Esc interrupts." },
};

const $ = (id) => document.getElementById(id);

/**
 * Shows the state of the call. `push`: sound is sent only while a key or the button is held; `talking`: it is held;
 * `typed`: the call has no microphone.
 */
export function showState(state, { push = false, talking = false, typed = false } = {}) {
  const pushed = talking ? PUSHED.talking : push && state === "listening" ? PUSHED.listening : {};
  const { label, name, hint } = { ...STATES[state], ...pushed, ...(typed && TYPED[state]) };
  document.body.dataset.state = talking ? "listening" : state;
  put($("talk-label"), label);
  put($("state"), name);
  put($("hint"), hint);
  $("interrupt").disabled = state !== "speaking" && state !== "thinking";
}

/** Shows what went wrong and what to do, or nothing more. */
export function advise(text) {
  $("advice").hidden = !text;
  put($("advice"), text ?? "");
}

/** Lets the rings and the meter follow the two levels, shares of full scale. */
export function showLevels(you, duologue) {
  $("talk").style.setProperty("--you-level", loud(you).toFixed(3));
  $("talk").style.setProperty("--duologue-level", loud(duologue).toFixed(3));
  $("level").value = loud(you);
}

export function showLatency({ lastMs, medianMs, valuesMs }, record) {
  put($("last"), lastMs === null ? "–" : seconds(lastMs));
  put($("median"), medianMs === null ? "–" : `${seconds(medianMs)} of ${valuesMs.length}`);
  put($("breakdown"), breakdown(record));
}

/** The server's own account of the last turn, in seconds after the end of speech. */
function breakdown(record) {
  if (typeof record?.speech_end_s !== "number") return "";
  const names = { end_point_s: "end of turn", transcript_s: "transcript", first_token_s: "first word", first_audio_s: "first sound" };
  const parts = Object.entries(names).filter(([key]) => typeof record[key] === "number");
  const told = parts.map(([key, name]) => `${name} ${(record[key] - record.speech_end_s).toFixed(2)} s`);
  return `The server’s account of the last turn, after the end of your speech: ${told.join(", ")}.`;
}

/** Loudness on a scale where −60 dBFS is zero and full scale one. */
function loud(share) {
  return Math.max(0, 1 + Math.log10(share + 1e-9) / 3);
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
