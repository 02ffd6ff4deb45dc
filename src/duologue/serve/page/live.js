// The wire of a full-duplex session: as much sound comes back as is sent, frame for frame, as PCM in binary messages.

import { RATE_HZ, toFloat32, toInt16 } from "./pcm.js";
import { Resampler } from "./resample.js";
import { ServerSocket } from "./socket.js";

const HEARD_HZ = 16000;
const MOST_UNANSWERED_MS = 2000;

export class LiveSocket extends ServerSocket {
  constructor({ model, key, handlers }) {
    super("live", { system: model }, key, handlers);
    this.toServer = new Resampler(RATE_HZ, HEARD_HZ);
    this.unansweredMs = 0;
  }

  receive(data) {
    if (data instanceof ArrayBuffer) return this.#sound(new Int16Array(data));
    const message = JSON.parse(data);
    if (message.type === "ready") {
      this.saidHz = message.said_hz;
      this.fromServer = new Resampler(message.said_hz, RATE_HZ);
    }
    return this.tell(message.type === "error" ? { type: "error", error: message } : message);
  }

  #sound(pcm) {
    this.unansweredMs -= (pcm.length * 1000) / this.saidHz;
    this.tell({ type: "output_audio", pcm: toInt16(this.fromServer.push(toFloat32(pcm))) });
  }

  /** Sends one block of sound, and says whether: a session that is behind would only fall further behind. */
  append(pcm) {
    if (!this.isOpen) return false;
    if (this.unansweredMs > MOST_UNANSWERED_MS) return this.drop(pcm);
    const heard = toInt16(this.toServer.push(toFloat32(pcm)));
    this.unansweredMs += (heard.length * 1000) / HEARD_HZ;
    this.socket.send(heard);
    this.handlers.onSent({ type: "input_audio" });
    return true;
  }
}
