// What was heard and said: two lanes in step. Their loudness is kept for drawing, their samples for the wav file.

import { RATE_HZ, wavHeader } from "./pcm.js";

export const BIN_SAMPLES = 240; // 10 ms
export const BINS_PER_S = RATE_HZ / BIN_SAMPLES;
const PIECE_SAMPLES = 10 * RATE_HZ; // samples leave memory for a Blob, which the browser may keep on disk
const AUDIBLE = 0.003; // of full scale, −50 dBFS
const ABOVE_NOISE = 4; // 12 dB

/** One speaker's sound in bins of 10 ms: peak and root mean square, as shares of full scale. */
export class Lane {
  constructor() {
    this.length = 0;
    this.peaks = new Float32Array(6000);
    this.rms = new Float32Array(6000);
  }

  push(pcm) {
    for (let start = 0; start < pcm.length; start += BIN_SAMPLES) this.#add(pcm.subarray(start, start + BIN_SAMPLES));
  }

  #add(bin) {
    if (this.length === this.peaks.length) [this.peaks, this.rms] = [twice(this.peaks), twice(this.rms)];
    let [peak, energy] = [0, 0];
    for (const sample of bin) {
      peak = Math.max(peak, Math.abs(sample));
      energy += sample * sample;
    }
    this.peaks[this.length] = peak / 32768;
    this.rms[this.length++] = Math.sqrt(energy / bin.length) / 32768;
  }

  get durationS() {
    return this.length / BINS_PER_S;
  }

  /** Loudness of bins [start, end) on a scale where speech spans about zero to one (60 dB). */
  loudness(start, end) {
    return this.rms.subarray(start, end).map((x) => Math.max(0, 1 + Math.log10(x + 1e-9) / 3));
  }

  /** The first moment from `startS` on that can be heard, or null. */
  firstAudibleS(startS) {
    for (let n = Math.max(0, Math.floor(startS * BINS_PER_S)); n < this.length; n++) {
      if (this.rms[n] >= AUDIBLE) return n / BINS_PER_S;
    }
    return null;
  }

  /** Where the voice in [startS, endS] begins and ends, {startS, endS}; null where there is none. */
  voiced(startS, endS) {
    const [start, end] = [startS, endS].map((s) => Math.max(0, Math.min(this.length, Math.round(s * BINS_PER_S))));
    const threshold = Math.max(AUDIBLE, ABOVE_NOISE * this.#noise(end));
    const bins = this.rms.subarray(start, end);
    const first = bins.findIndex((x) => x >= threshold);
    const last = bins.findLastIndex((x) => x >= threshold);
    return first < 0 ? null : { startS: (start + first) / BINS_PER_S, endS: (start + last + 1) / BINS_PER_S };
  }

  /** The level that a tenth of the last ten seconds stays below. */
  #noise(end) {
    const recent = this.rms.slice(Math.max(0, end - 10 * BINS_PER_S), end).sort();
    return recent[Math.floor(recent.length / 10)] ?? 0;
  }
}

function twice(values) {
  const larger = new Float32Array(values.length * 2);
  larger.set(values);
  return larger;
}

/** Both lanes, and the stereo recording made of them: you left, duologue right. */
export class Recording {
  constructor() {
    this.you = new Lane();
    this.duologue = new Lane();
    this.waiting = { you: [], duologue: [] };
    this.piece = new Int16Array(PIECE_SAMPLES * 2);
    this.filled = 0;
    this.blobs = [];
  }

  /** Adds one block to the lane `side`; both sides send blocks of the same length. */
  push(side, pcm) {
    this[side].push(pcm);
    this.waiting[side].push(pcm);
    if (this.waiting.you.length && this.waiting.duologue.length) {
      this.#interleave(this.waiting.you.shift(), this.waiting.duologue.shift());
    }
  }

  #interleave(left, right) {
    for (let n = 0; n < left.length; n++) {
      this.piece[this.filled++] = left[n];
      this.piece[this.filled++] = right[n];
      if (this.filled === this.piece.length) this.#put();
    }
  }

  #put() {
    this.blobs.push(new Blob([this.piece.slice(0, this.filled)]));
    this.filled = 0;
  }

  toWav() {
    this.#put();
    const bytes = this.blobs.reduce((sum, blob) => sum + blob.size, 0);
    return new Blob([wavHeader(bytes, 2), ...this.blobs], { type: "audio/wav" });
  }
}
