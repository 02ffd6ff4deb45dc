// The microphone, at the context's rate in 128-sample blocks, becomes 40 ms blocks of PCM16 at 24 kHz.

import { toInt16 } from "./pcm.js";
import { Resampler } from "./resample.js";

const TARGET_HZ = 24000;
const BLOCK_SAMPLES = 960;

const targetSamples = (frames) => Math.round((Math.max(0, frames) * TARGET_HZ) / sampleRate);

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.originFrame = processorOptions.originFrame;
    this.resampler = new Resampler(sampleRate, TARGET_HZ);
    this.block = new Float32Array(BLOCK_SAMPLES);
    this.filled = 0;
    this.silence = new Float32Array(128);
    this.started = false;
    this.open = true;
    this.port.onmessage = ({ data }) => {
      if (data.type === "close") this.open = false;
    };
  }

  process([input]) {
    if (!this.started) this.#keep(new Float32Array(targetSamples(currentFrame - this.originFrame)));
    this.started = true;
    this.#keep(this.resampler.push(input[0] ?? this.silence));
    return this.open;
  }

  #keep(samples) {
    while (samples.length > 0) {
      const taken = samples.subarray(0, BLOCK_SAMPLES - this.filled);
      this.block.set(taken, this.filled);
      this.filled += taken.length;
      samples = samples.subarray(taken.length);
      if (this.filled === BLOCK_SAMPLES) this.#post();
    }
  }

  #post() {
    const pcm = toInt16(this.block);
    this.port.postMessage(pcm, [pcm.buffer]);
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
