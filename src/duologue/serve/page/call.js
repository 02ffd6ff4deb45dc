// One call, from the click to the end: the socket, the sound, the recording and the conversation, tied together.

import { Sound } from "./audio.js";
import { Conversation } from "./conversation.js";
import { echoShare } from "./echo.js";
import { Latencies } from "./latency.js";
import { RATE_HZ, level } from "./pcm.js";
import { Recording } from "./recording.js";
import { LiveSocket } from "./live.js";
import { RealtimeSocket } from "./socket.js";

const HEARD_ITSELF = 0.75;
const RELEASE_TAIL_MS = 120; // what is still on its way from the microphone when the key is let go
const SHORTEST_COMMIT_MS = 150;

/** What a call counts, before there is anything to count. */
export const NOTHING_YET = {
  captured_ms: 0,
  sent_ms: 0,
  received_ms: 0,
  played_ms: 0,
  dropped_ms: 0,
  underruns: 0,
  in_hand_ms: 0,
};

const milliseconds = (samples) => samples / (RATE_HZ / 1000);

export class Call {
  /** `options`: model, duplex, voice, key, push. `view`: changed(entry), event(direction, event), levels, advise, ended, ready. */
  constructor(options, view) {
    Object.assign(this, { options, view, duplex: options.duplex, push: options.push && !options.duplex });
    this.startedAt = new Date().toISOString();
    this.recording = new Recording();
    this.latencies = new Latencies();
    this.levels = { you: 0, duologue: 0 };
    this.stats = { ...NOTHING_YET };
    this.contiguous = []; // where appended sound lies in the recording: {appendedMs, laneMs} at each break
    this.talking = false;
    this.muted = false;
    this.ready = false;
    const player = this.#player();
    const send = (event) => this.socket?.send(event);
    this.conversation = new Conversation({ send, player, changed: view.changed, clock: () => this.nowS });
  }

  #player() {
    const call = this;
    return {
      play: (item, pcm) => ((call.stats.received_ms += milliseconds(pcm.length)), call.sound.play(item, pcm)),
      end: (item) => call.sound.end(item),
      stop: () => call.sound.stop(),
      laneS: (appendedMs) => call.#laneS(appendedMs),
      onsetS: (fromS) => call.recording.you.voiced(fromS, call.nowS)?.startS ?? fromS,
      get inHandMs() {
        return call.stats.in_hand_ms;
      },
      get outputLatencyMs() {
        return Math.round(call.sound.outputLatencyS * 1000);
      },
    };
  }

  /**
   * Opens the sound, the socket, and then the microphone unless `microphone` is null: whatever is said into an open
   * microphone reaches the server.
   */
  async start(microphone) {
    this.sound = await Sound.open({ onCaptured: (pcm) => this.#captured(pcm), onPlayback: (m) => this.#playback(m) });
    if (!this.over) await this.#connect();
    if (!this.over && microphone) await this.setMicrophone(microphone);
    if (this.over) return this.sound.close();
    this.ready = true;
    this.echoTimer = setInterval(() => this.#checkEcho(), 1000);
    return this.view.ready();
  }

  /** Resolves when the session is there, or the call is over. */
  #connect() {
    return new Promise((resolve) => {
      this.settled = resolve;
      const { model, key } = this.options;
      const Socket = this.duplex ? LiveSocket : RealtimeSocket;
      this.socket = new Socket({ model, key, handlers: this.#handlers() });
    });
  }

  #handlers() {
    return {
      onEvent: (event) => this.#received(event),
      onSent: (event) => this.view.event("sent", event),
      onClose: ({ remedy }) => this.end(remedy),
      onCongestion: (droppedMs) => {
        this.stats.dropped_ms = droppedMs;
        this.view.advise("The network is behind: part of your speech was not sent.");
      },
    };
  }

  get nowS() {
    return this.endedS ?? this.sound?.nowS ?? 0;
  }

  get state() {
    return this.ready ? this.conversation.state : "connecting";
  }

  end(remedy = null) {
    if (this.over) return;
    this.endedS = this.nowS;
    this.over = true;
    clearInterval(this.echoTimer);
    this.socket?.close();
    this.sound?.close();
    this.conversation.playing = false;
    this.settled?.();
    this.view.ended(remedy);
  }

  // ------------------------------------------------------------ the server

  #received(event) {
    this.view.event("received", event);
    this.conversation.receive(event);
    if (event.type === "session.created") this.#configure();
    if (event.type === "ready") this.settled();
  }

  #configure() {
    const { voice } = this.options;
    const input = { transcription: { model: "default" }, turn_detection: this.#turnDetection() };
    this.#update({ input, ...(voice && { output: { voice } }) });
    this.settled();
  }

  #turnDetection() {
    return this.push || this.talking ? null : { type: "server_vad" };
  }

  #update(audio) {
    this.socket.send({ type: "session.update", session: { type: "realtime", audio } });
  }

  // ------------------------------------------------------------ sound in

  #captured(pcm) {
    if (this.over) return;
    this.recording.push("you", pcm);
    const laneMs = this.stats.captured_ms;
    this.stats.captured_ms += milliseconds(pcm.length);
    this.levels.you = level(pcm);
    this.view.levels(this.levels);
    if (this.ready && this.sound.stream && (!this.push || this.talking)) this.#append(pcm, laneMs);
  }

  #append(pcm, laneMs) {
    if (!this.socket.append(pcm)) return;
    const last = this.contiguous.at(-1);
    const expectedMs = last ? last.laneMs + this.stats.sent_ms - last.appendedMs : NaN;
    if (laneMs !== expectedMs) this.contiguous.push({ appendedMs: this.stats.sent_ms, laneMs });
    this.stats.sent_ms += milliseconds(pcm.length);
  }

  #laneS(appendedMs) {
    const piece = this.contiguous.findLast((p) => p.appendedMs <= appendedMs) ?? { appendedMs: 0, laneMs: 0 };
    return (piece.laneMs + appendedMs - piece.appendedMs) / 1000;
  }

  async setMicrophone({ deviceId, processing }) {
    const lost = () => this.view.advise("The microphone is gone. Choose another one under Options, or type below.");
    await this.sound.setMicrophone(deviceId, processing, lost);
    this.sound.setMuted(this.muted);
  }

  setMuted(muted) {
    this.muted = muted;
    this.sound?.setMuted(muted);
  }

  setPush(push) {
    if (this.duplex) return;
    this.push = push;
    if (this.conversation.session) this.#update({ input: { turn_detection: this.#turnDetection() } });
  }

  /** Holding to talk begins: what was said so far is dropped, the reply stops. */
  press() {
    if (this.duplex || !this.ready || this.over || this.talking || !this.sound.stream) return;
    this.talking = true;
    this.conversation.interrupt("client_cancelled");
    this.sound.setMuted(false);
    if (!this.push) this.#update({ input: { turn_detection: null } });
    this.socket.send({ type: "input_audio_buffer.clear" });
    this.pressed = { startS: this.nowS, sentMs: this.stats.sent_ms };
    this.conversation.userSpeaking = true;
  }

  /** Holding ends: what was said is the turn. */
  release() {
    if (!this.talking || this.releasing) return;
    this.releasing = setTimeout(() => this.#commit(), RELEASE_TAIL_MS);
  }

  #commit() {
    this.releasing = null;
    this.talking = false;
    this.conversation.userSpeaking = false;
    if (this.over) return;
    const enough = this.stats.sent_ms - this.pressed.sentMs >= SHORTEST_COMMIT_MS;
    if (enough) this.conversation.spoke({ startS: this.pressed.startS, endS: this.nowS });
    else this.socket.send({ type: "input_audio_buffer.clear" });
    if (!this.push) this.#update({ input: { turn_detection: this.#turnDetection() } });
    this.sound.setMuted(this.muted);
  }

  // ------------------------------------------------------------ sound out

  #playback(message) {
    if (this.over) return;
    if (message.type === "played") this.#played(message);
    this.conversation.playback(message);
    const fresh = this.latencies.measure(this.conversation.entries, this.recording, this.sound.outputLatencyS * 1000);
    fresh.forEach((entry) => this.view.changed(entry));
  }

  #played({ pcm, playing, queuedSamples, underruns }) {
    this.recording.push("duologue", pcm);
    this.levels.duologue = level(pcm);
    Object.assign(this.stats, { underruns, in_hand_ms: milliseconds(queuedSamples) });
    if (playing) this.stats.played_ms += milliseconds(pcm.length);
  }

  /** The microphone hears the reply when both loudness curves agree for two seconds on end. */
  #checkEcho() {
    const heard = this.conversation.playing && echoShare(this.recording.you, this.recording.duologue) > HEARD_ITSELF;
    if (heard && this.heardBefore) {
      this.view.advise("The microphone hears the reply. Use headphones, or switch on the echo remedy under Options.");
    }
    this.heardBefore = heard;
  }
}
