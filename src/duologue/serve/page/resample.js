// Sample-rate conversion with memory: a polyphase bank of Kaiser-windowed sincs.
// Any way of cutting the input into blocks gives the same output samples.

const ZERO_CROSSINGS = 32; // on each side, counted at the lower of the two rates
const KAISER_BETA = 8; // about 80 dB below the passband
const CUTOFF = 0.92; // of the lower Nyquist frequency: the stop band begins where folding would

export class Resampler {
  constructor(fromHz, toHz) {
    const shared = greatestCommonDivisor(fromHz, toHz);
    this.phases = toHz / shared;
    this.step = fromHz / shared;
    this.bank = filterBank(this.phases, Math.min(1, toHz / fromHz));
    this.taps = this.bank.length / this.phases;
    this.phase = 0;
    this.held = new Float32Array(this.taps * 4);
    this.heldSamples = this.taps / 2 - 1; // silence before the first sample: output n lies at input time n
  }

  /** How many more input samples must be pushed before `outputs` samples can be given. */
  inputsFor(outputs) {
    const last = Math.floor((this.phase + (outputs - 1) * this.step) / this.phases);
    return Math.max(0, last + this.taps - this.heldSamples);
  }

  /** Takes `input` (mono floats) and returns every output sample that it completes, at most `most` of them. */
  push(input, most = Infinity) {
    this.#hold(input);
    const output = new Float32Array(Math.min(most, this.#ready()));
    let start = 0;
    for (let n = 0; n < output.length; n++) {
      output[n] = this.#filter(start);
      this.phase += this.step;
      start += Math.floor(this.phase / this.phases);
      this.phase %= this.phases;
    }
    this.held.copyWithin(0, start, this.heldSamples);
    this.heldSamples -= start;
    return output;
  }

  #hold(input) {
    const needed = this.heldSamples + input.length;
    if (needed > this.held.length) {
      const larger = new Float32Array(needed * 2);
      larger.set(this.held.subarray(0, this.heldSamples));
      this.held = larger;
    }
    this.held.set(input, this.heldSamples);
    this.heldSamples = needed;
  }

  #ready() {
    const starts = this.heldSamples - this.taps + 1; // windows that fit into what is held
    return starts <= 0 ? 0 : Math.max(0, Math.ceil((starts * this.phases - this.phase) / this.step));
  }

  #filter(start) {
    const row = this.phase * this.taps;
    let sum = 0;
    for (let k = 0; k < this.taps; k++) sum += this.bank[row + k] * this.held[start + k];
    return sum;
  }
}

/** One row of taps per phase; each row sums to one, so a constant stays the constant it was. */
function filterBank(phases, scale) {
  const half = Math.ceil(ZERO_CROSSINGS / scale);
  const bank = new Float64Array(phases * half * 2);
  for (let phase = 0; phase < phases; phase++) {
    const row = bank.subarray(phase * half * 2, (phase + 1) * half * 2);
    for (let k = 0; k < row.length; k++) row[k] = windowedSinc(half - 1 - k + phase / phases, half, scale * CUTOFF);
    const sum = row.reduce((a, b) => a + b);
    for (let k = 0; k < row.length; k++) row[k] /= sum;
  }
  return bank;
}

function windowedSinc(time, half, cutoff) {
  const edge = time / half;
  if (Math.abs(edge) >= 1) return 0;
  const x = Math.PI * cutoff * time;
  const sinc = x === 0 ? 1 : Math.sin(x) / x;
  return (sinc * besselI0(KAISER_BETA * Math.sqrt(1 - edge * edge))) / besselI0(KAISER_BETA);
}

function besselI0(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
