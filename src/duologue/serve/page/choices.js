// What can be chosen: systems and voices of this server, microphones of this computer.

const $ = (id) => document.getElementById(id);

/** Fills the list of systems. Returns what the person can do when the server does not tell, else null. */
export async function loadModels() {
  const key = $("key").value;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch("v1/models", { headers }).catch(() => null);
  $("key-choice").hidden = answer?.status !== 401 && !key;
  if (answer === null) return `The server at ${location.host} cannot be reached. Is “duologue serve” still running?`;
  if (answer.status === 401) return "This server asks for a key. Enter it above.";
  if (!answer.ok) return `The server does not list its systems (${answer.status}). Its log tells more.`;
  offerModels((await answer.json()).data);
  return null;
}

let duplex = new Set();

/** Whether the chosen system hears while it speaks. */
export const duplexIsChosen = () => duplex.has($("model").value);

function offerModels(models) {
  const chosen = $("model").value;
  duplex = new Set(models.filter((model) => model.duplex).map(({ id }) => id));
  offer("model", models.map(({ id }) => [id, duplex.has(id) ? `${id} · full duplex` : id]), chosen);
  const voicesOf = () => models.find(({ id }) => id === $("model").value)?.voices ?? [];
  const offerVoices = () => offer("voice", voicesOf().map((voice) => [voice, voice]), $("voice").value);
  $("model").addEventListener("change", offerVoices);
  offerVoices();
}

/** Names become known only once a microphone was allowed. */
export async function loadMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const inputs = devices.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId && deviceId !== "default");
  const named = inputs.map(({ deviceId, label }, n) => [deviceId, label || `Microphone ${n + 1}`]);
  offer("microphone", [["", "Default"], ...named], $("microphone").value);
}

/** Puts [value, name] pairs into a list; a list of one is no choice and is not shown. */
function offer(id, pairs, chosen) {
  $(id).replaceChildren(...pairs.map(([value, name]) => new Option(name, value, false, value === chosen)));
  const choice = $(`${id}-choice`);
  if (choice) choice.hidden = pairs.length < 2;
}
