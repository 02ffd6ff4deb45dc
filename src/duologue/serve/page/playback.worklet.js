// The reply, pushed as floats at 24 kHz, is queued and played at the context's rate.
// Everything that leaves is also reported at 24 kHz, so that the page knows to the sample what was played.

import { toInt16 } from "./pcm.js";
import { Resampler } from "./resample.js";

const SOURCE_HZ = 24000;
const START_SAMPLES = 0.1 * SOURCE_HZ;
const FADE_SAMPLES = 0.01 * SOURCE_HZ;
const REPORT_SAMPLES = 960;

const sourceSamples = (frames) => Math.round((Math.max(0, frames) * SOURCE_HZ) / sampleRate);

class Playback extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.resampler = new Resampler(SOURCE_HZ, sampleRate);
    this.queue = []; // {item, samples} in order; samples null marks the end of an item
    this.queuedSamples = 0;
    this.queuedEnds = 0;
    this.playing = false;
    this.item = null;
    this.playedSamples = 0; // of `item`
    this.underruns = 0;
    this.report = new Float32Array(REPORT_SAMPLES);
    this.reported = 0;
    this.told = 0; // samples reported since the beginning of the recording
    this.originFrame = processorOptions.originFrame;
    this.open = true;
    this.port.onmessage = ({ data }) => this[data.type](data);
  }

  push({ item, samples }) {
    this.queue.push({ item, samples });
    this.queuedSamples += samples.length;
  }

  end({ item }) {
    this.queue.push({ item, samples: null });
    this.queuedEnds += 1;
  }

  /** Fades what is being played, forgets the rest, and tells how much of which item was played. */
  stop() {
    const tail = this.#front(this.playing ? FADE_SAMPLES : 0);
    this.queue = [];
    this.queuedSamples = 0;
    this.queuedEnds = 0;
    this.push({ item: this.item, samples: tail.map((x, n) => x * (1 - n / FADE_SAMPLES)) });
    this.end({ item: this.item });
    const playedSamples = this.playedSamples + tail.length;
    this.port.postMessage({ type: "stopped", item: this.item, playedSamples, atS: this.told / SOURCE_HZ });
  }

  close() {
    this.open = false;
  }

  process(_inputs, [[output, ...others]]) {
    const source = new Float32Array(this.resampler.inputsFor(output.length));
    const ready = this.queuedSamples >= START_SAMPLES || this.queuedEnds > 0;
    if (this.told === 0) this.#tell(new Float32Array(sourceSamples(currentFrame - this.originFrame)));
    this.playing ||= ready;
    if (this.playing) this.#take(source);
    this.#tell(source);
    output.set(this.resampler.push(source, output.length));
    for (const other of others) other.set(output);
    return this.open;
  }

  /** Fills `into` from the queue; where that runs dry the rest stays silence and playing pauses. */
  #take(into) {
    let filled = 0;
    while (filled < into.length && this.queue.length > 0) {
      const { item, samples } = this.queue[0];
      if (samples === null) this.#finish(item);
      else filled += this.#copy(into.subarray(filled), item, samples);
    }
    if (this.queue[0]?.samples === null) this.#finish(this.queue[0].item);
    if (filled === into.length || !this.playing) return;
    this.playing = false;
    this.underruns += 1;
  }

  /** A copy of the next samples of the item being played, at most `most`. */
  #front(most) {
    const front = new Float32Array(most);
    let filled = 0;
    for (const { samples } of this.queue) {
      if (samples === null || filled === most) break;
      const part = samples.subarray(0, most - filled);
      front.set(part, filled);
      filled += part.length;
    }
    return front.subarray(0, filled);
  }

  #copy(into, item, samples) {
    if (item !== this.item) {
      this.item = item;
      this.playedSamples = 0;
      this.port.postMessage({ type: "started", item, atS: this.told / SOURCE_HZ });
    }
    const count = Math.min(into.length, samples.length);
    into.set(samples.subarray(0, count));
    if (count === samples.length) this.queue.shift();
    else this.queue[0].samples = samples.subarray(count);
    this.playedSamples += count;
    this.queuedSamples -= count;
    return count;
  }

  #finish(item) {
    this.queue.shift();
    this.queuedEnds -= 1;
    if (this.queue.length === 0) this.playing = false;
    this.port.postMessage({ type: "finished", item, atS: this.told / SOURCE_HZ });
  }

  #tell(source) {
    this.told += source.length;
    for (const sample of source) {
      this.report[this.reported++] = sample;
      if (this.reported === REPORT_SAMPLES) this.#post();
    }
  }

  #post() {
    const { item, playedSamples, queuedSamples, underruns, playing } = this;
    const pcm = toInt16(this.report);
    const message = { type: "played", item, playedSamples, queuedSamples, underruns, playing, pcm };
    this.port.postMessage(message, [pcm.buffer]);
    this.reported = 0;
  }
}

registerProcessor("playback", Playback);
