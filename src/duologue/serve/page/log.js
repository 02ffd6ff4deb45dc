// Every event that went over the wire, newest last; sound is counted, not shown.

const MOST_ROWS = 1000;
const SOUND = new Set(["input_audio_buffer.append", "response.output_audio.delta", "input_audio", "output_audio"]);

export class EventLog {
  constructor({ list, filter, side, clock }) {
    Object.assign(this, { list, filter, side, clock });
    this.events = [];
    this.runs = new Map(); // by type: the row that counts sound events since the last other event
    filter.oninput = side.onchange = () => this.#filterAll();
  }

  clear() {
    this.events = [];
    this.runs.clear();
    this.list.replaceChildren();
  }

  /** Adds an event; `direction` is "sent" or "received". Sound between two other events shares one row. */
  add(direction, event) {
    if (!SOUND.has(event.type)) this.runs.clear();
    else if (this.runs.has(event.type)) return this.#count(this.runs.get(event.type));
    const shown = SOUND.has(event.type) ? { type: event.type } : event;
    const atS = Math.round(this.clock() * 1000) / 1000;
    this.events.push({ at_s: atS, direction, ...shown });
    return this.#append(direction, shown, atS);
  }

  #count(run) {
    run.count += 1;
    run.summary.textContent = `× ${run.count}`;
  }

  #append(direction, event, atS) {
    const row = document.getElementById("event-template").content.cloneNode(true).firstElementChild;
    const [time, arrow, type, summary] = row.querySelectorAll("summary > *");
    time.textContent = atS.toFixed(2);
    arrow.textContent = direction === "sent" ? "→" : "←";
    type.textContent = event.type;
    summary.textContent = gist(event);
    row.querySelector("pre").textContent = JSON.stringify(event, null, 2);
    Object.assign(row.dataset, { direction, search: JSON.stringify(event).toLowerCase() });
    row.classList.toggle("problem", event.type === "error");
    if (SOUND.has(event.type)) this.runs.set(event.type, { count: 1, summary });
    this.#place(row);
  }

  #place(row) {
    const following = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    row.hidden = !this.#wanted(row);
    this.list.append(row);
    if (this.list.childElementCount > MOST_ROWS) this.list.firstElementChild.remove();
    if (following) this.list.scrollTop = this.list.scrollHeight;
  }

  #wanted(row) {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const side = this.side.value;
    return (side === "all" || row.dataset.direction === side) && words.every((w) => row.dataset.search.includes(w));
  }

  #filterAll() {
    for (const row of this.list.children) row.hidden = !this.#wanted(row);
  }
}

/** The few words of an event that one looks for. */
function gist(event) {
  const text = event.delta ?? event.transcript ?? event.text ?? event.error?.message ?? event.arguments;
  const ms = event.audio_start_ms ?? event.audio_end_ms;
  const status = event.response?.status ?? event.item?.type;
  return [event.kind, text, ms === undefined ? null : `${ms} ms`, status].filter((x) => x !== undefined && x !== null).join(" ");
}
