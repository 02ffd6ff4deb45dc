// The page: what each control does, and what each change shows.

import { microphoneRemedy } from "./audio.js";
import { Call, NOTHING_YET } from "./call.js";
import { duplexIsChosen, loadMicrophones, loadModels } from "./choices.js";
import { listenToKeys } from "./keys.js";
import { EventLog } from "./log.js";
import { saveJson, saveWav } from "./save.js";
import { advise, showLatency, showLevels, showState } from "./stage.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);

let call = null;
const live = () => call !== null && !call.over;
const transcript = new Transcript($("transcript"));
const filters = { filter: $("event-filter"), side: $("event-side") };
const log = new EventLog({ list: $("events"), ...filters, clock: () => call?.nowS ?? 0 });
const timeline = new Timeline($("timeline"), () => call);

// ------------------------------------------------------------ a call begins and ends

async function start({ typed = false } = {}) {
  begin(typed);
  const mine = call;
  try {
    await mine.start(typed ? null : chosenMicrophone());
    await loadMicrophones();
    if ($("remedy").checked) await setRemedy();
  } catch (error) {
    mine.end(microphoneRemedy(error));
  }
}

function begin(typed) {
  transcript.clear();
  log.clear();
  advise(null);
  $("empty").hidden = false;
  timeline.behindS = 0;
  const [model, voice, key] = ["model", "voice", "key"].map((id) => $(id).value);
  const options = { model, voice, key, duplex: duplexIsChosen(), push: $("push").checked };
  call = new Call(options, view);
  call.typed = typed;
  for (const id of ["save-wav", "save-json"]) $(id).disabled = false;
  $("mute").disabled = typed;
  setMuted(false);
  refresh();
  requestAnimationFrame(drawFrame);
}

const view = {
  changed: (entry) => {
    $("empty").hidden = true;
    transcript.show(entry);
    refresh();
  },
  event: (direction, event) => {
    log.add(direction, event);
    $("event-count").textContent = log.events.length;
    if (direction === "received") refresh();
  },
  levels: ({ you, duologue }) => showLevels(you, duologue),
  advise,
  ready: () => {
    refresh();
    for (const text of waitingWords.splice(0)) call.conversation.type(text);
  },
  ended: (remedy) => {
    showLevels(0, 0);
    $("mute").disabled = true;
    if (remedy) advise(remedy);
    showState(remedy ? "error" : "idle");
    $("end").hidden = true;
    document.body.classList.remove("push");
    waitingWords.length = 0;
    showSystem();
    timeline.draw();
  },
};

function refresh() {
  if (!live()) return;
  showState(call.state, { push: call.push, talking: call.talking, typed: call.typed });
  showLatency(call.latencies, call.conversation.entries.findLast((e) => e.record)?.record);
  $("end").hidden = !(call.push && call.ready);
  document.body.classList.toggle("push", call.push && call.ready);
}

/** In full duplex there are no turns to take: nothing to type, to hold or to interrupt. */
function showSystem() {
  const duplex = live() ? call.duplex : duplexIsChosen();
  document.body.classList.toggle("duplex", duplex);
  for (const line of document.querySelectorAll(".line")) line.disabled = duplex;
}

let shown = null;
function drawFrame() {
  if (!live()) return;
  if (call.state !== shown) refresh();
  shown = call.state;
  if (timeline.behindS === 0 || call.conversation.playing) timeline.draw();
  requestAnimationFrame(drawFrame);
}

// ------------------------------------------------------------ controls

const waitingWords = []; // typed before the call was on

function say(text) {
  if (live() && call.ready) return call.conversation.type(text);
  waitingWords.push(text);
  if (!live()) start({ typed: true });
}

function setMuted(muted) {
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute").textContent = muted ? "Unmute" : "Mute";
  document.body.classList.toggle("muted", muted);
  call?.setMuted(muted);
}

const chosenMicrophone = () => ({ deviceId: $("microphone").value, processing: $("processing").checked });

async function setMicrophone() {
  if (live() && !call.typed) await call.setMicrophone(chosenMicrophone()).catch((error) => advise(microphoneRemedy(error)));
}

async function setRemedy() {
  await call?.sound?.setEchoRemedy($("remedy").checked).catch((error) => {
    $("remedy").checked = false;
    advise(`The echo remedy does not work here: ${error.message}. Use headphones instead.`);
    return call.sound.setEchoRemedy(false);
  });
}

const acts = {
  press: () => live() && (call.press(), refresh()),
  release: () => live() && call.release(),
  interrupt: () => live() && !call.duplex && call.conversation.interrupt("client_cancelled"),
  mute: () => live() && setMuted(!call.muted),
};

$("talk").onclick = () => {
  if (!live()) start();
  else if (!call.push || !call.ready) call.end();
};
$("end").onclick = () => call.end();
$("mute").onclick = acts.mute;
$("interrupt").onclick = acts.interrupt;
$("model").onchange = showSystem;
$("push").onchange = () => live() && (call.setPush($("push").checked), refresh());
navigator.mediaDevices?.addEventListener("devicechange", loadMicrophones);
$("microphone").onchange = $("processing").onchange = setMicrophone;
$("remedy").onchange = setRemedy;
$("key-choice").onsubmit = (event) => (event.preventDefault(), greet());
$("key").onchange = greet;
$("save-wav").onclick = () => saveWav(call);
$("save-json").onclick = () => saveJson(call, log.events);
$("typed").onsubmit = (event) => {
  event.preventDefault();
  const text = $("words").value.trim();
  $("words").value = "";
  if (text) say(text);
};
for (const line of document.querySelectorAll(".line")) line.onclick = () => say(line.textContent);
$("log").ontoggle = () => $("log").open && $("log").scrollIntoView({ block: "end" });
listenToKeys({ acts, live, push: () => $("push").checked });

/** Asks the server what it serves; says so when there is none. */
async function greet() {
  const problem = await loadModels();
  if (!live()) showState(problem ? "error" : "idle");
  showSystem();
  advise(problem);
}

window.duologue = {
  get stats() {
    const { lastMs = null, medianMs = null } = call?.latencies ?? {};
    const { state } = document.body.dataset;
    return { ...(call?.stats ?? NOTHING_YET), state, last_latency_ms: lastMs, median_latency_ms: medianMs };
  },
  get tap() {
    return call?.sound?.tap ?? null;
  },
  get call() {
    return call;
  },
};

$("processing").checked = query.get("aec") !== "0";
timeline.draw();
await greet();
if (query.get("autostart") === "1") start();
