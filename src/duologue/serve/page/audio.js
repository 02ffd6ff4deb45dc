// The sound hardware: one AudioContext, the microphone into the capture worklet, the playback worklet out.
// Both worklets count from the same moment, so second `t` of one lane is second `t` of the other.

import { toFloat32 } from "./pcm.js";
import { throughPeers } from "./echo.js";

export class Sound {
  /** Opens the context. Call on a click. `onCaptured(pcm)` and `onPlayback(message)` get what the worklets post. */
  static async open({ onCaptured, onPlayback }) {
    const context = new AudioContext({ latencyHint: "interactive" });
    await Promise.all(["capture", "playback"].map((name) => context.audioWorklet.addModule(`${name}.worklet.js`)));
    await context.resume();
    return new Sound(context, onCaptured, onPlayback);
  }

  constructor(context, onCaptured, onPlayback) {
    this.context = context;
    this.originS = context.currentTime;
    const processorOptions = { originFrame: Math.round(this.originS * context.sampleRate) };
    this.capture = new AudioWorkletNode(context, "capture", { processorOptions });
    this.playback = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, processorOptions });
    this.capture.port.onmessage = ({ data }) => onCaptured(data);
    this.playback.port.onmessage = ({ data }) => onPlayback(data);
    this.tap = context.createMediaStreamDestination();
    this.capture.connect(context.destination); // silent: a node that leads nowhere may be left out
    this.playback.connect(context.destination);
    this.playback.connect(this.tap);
  }

  /** Seconds since the recording began. */
  get nowS() {
    return this.context.currentTime - this.originS;
  }

  get outputLatencyS() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  /**
   * Listens to another microphone. `processing` is the browser's echo, noise and gain control. `onLost` is
   * called when the microphone is unplugged or no longer allowed.
   */
  async setMicrophone(deviceId, processing, onLost) {
    const wanted = { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing };
    const audio = { ...wanted, channelCount: 1, ...(deviceId && { deviceId: { exact: deviceId } }) };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.closeMicrophone();
    this.stream = stream;
    if (this.context.state === "closed") return this.closeMicrophone();
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.capture);
    stream.getAudioTracks()[0].onended = onLost;
    return undefined;
  }

  closeMicrophone() {
    this.source?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
  }

  setMuted(muted) {
    this.stream?.getAudioTracks().forEach((track) => (track.enabled = !muted));
  }

  /** Plays by way of two peer connections, whose sound every echo canceller knows; or directly again. */
  async setEchoRemedy(on) {
    this.loop?.close();
    this.loop = on ? await throughPeers(this.tap.stream) : null;
    this.playback.disconnect(); // from everything, so that nothing is ever connected twice
    this.playback.connect(this.tap);
    if (!on) this.playback.connect(this.context.destination);
  }

  play(item, pcm) {
    this.playback.port.postMessage({ type: "push", item, samples: toFloat32(pcm) });
  }

  /** All of `item` was pushed. */
  end(item) {
    this.playback.port.postMessage({ type: "end", item });
  }

  /** Fades out in 10 ms and forgets what is queued; a "stopped" message tells what was played. */
  stop() {
    this.playback.port.postMessage({ type: "stop" });
  }

  async close() {
    this.closeMicrophone();
    this.loop?.close();
    if (this.context.state === "closed") return;
    for (const node of [this.capture, this.playback]) node.port.postMessage({ type: "close" });
    await this.context.close();
  }
}

/** What the person can do about a microphone that does not open. */
export function microphoneRemedy(error) {
  if (!navigator.mediaDevices) return "Browsers give a microphone only to https pages and to localhost. Open this page there, or type below.";
  const remedies = {
    NotAllowedError: "The microphone is blocked. Allow it beside the address of this page, then start again. Or type below.",
    NotFoundError: "There is no microphone. Plug one in, then start again. Or type below.",
    OverconstrainedError: "That microphone is gone. Choose another one, then start again.",
    NotReadableError: "The microphone is in use by another program. Close it there, then start again.",
  };
  return remedies[error.name] ?? `The microphone did not open: ${error.message}`;
}
