// How long the person waited: from the last voiced sound of the question to the first audible sound of the reply.
// Both are read from the two recorded lanes, so it is what was really heard, to 10 ms.

export class Latencies {
  constructor() {
    this.valuesMs = [];
    this.measured = new Set();
  }

  /** Measures every reply of `entries` that has become audible since the last call; returns those. */
  measure(entries, recording, outputLatencyMs) {
    const fresh = entries.filter((e) => e.kind === "assistant" && e.audible && !this.measured.has(e.responseId));
    return fresh.filter((reply) => {
      const startS = recording.duologue.firstAudibleS(reply.startS);
      if (startS === null) return false;
      this.measured.add(reply.responseId);
      return this.#measureFrom(question(entries, reply), reply, startS, recording.you, outputLatencyMs);
    });
  }

  #measureFrom(user, reply, startS, lane, outputLatencyMs) {
    if (!user || user.typed) return false;
    const { endS } = lane.voiced(user.startS, Math.min(user.endS ?? startS, startS)) ?? {};
    if (endS === undefined) return false;
    reply.waited = { fromS: endS, toS: startS };
    reply.latencyMs = Math.round((startS - endS) * 1000 + outputLatencyMs);
    this.valuesMs.push(reply.latencyMs);
    return true;
  }

  get lastMs() {
    return this.valuesMs.at(-1) ?? null;
  }

  get medianMs() {
    const sorted = this.valuesMs.toSorted((a, b) => a - b);
    const middle = sorted.length / 2;
    return sorted.length === 0 ? null : (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
  }
}

/** The turn that `reply` answers: the nearest one of the person before it, if no other reply lies between. */
function question(entries, reply) {
  const before = entries.slice(0, entries.indexOf(reply)).filter((e) => e.kind === "user" || e.audible);
  return before.at(-1)?.kind === "user" ? before.at(-1) : null;
}
