// The wire: one WebSocket to the server this page came from, and the Realtime protocol over it.

import { RATE_HZ, encodeBase64 } from "./pcm.js";

const FULL_BYTES = 256 * 1024;

const CLOSE_REMEDIES = {
  1001: "The conversation reached its longest duration. Start a new one.",
  1008: "The server ended the conversation. Start again.",
  1011: "Something broke in this conversation on the server. Start again; its log tells more.",
  1012: "The server is restarting. Start again in a minute.",
  1013: "All places are taken. Try again in a minute.",
};

export class ServerSocket {
  /** `handlers`: onEvent(event), onSent(event), onCongestion(droppedMs), onClose({clean, remedy}). */
  constructor(protocol, query, key, handlers) {
    const url = new URL(`v1/${protocol}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
    this.handlers = handlers;
    this.lastError = null;
    this.droppedMs = 0;
    this.opened = false;
    this.socket = new WebSocket(url, key ? [protocol, `openai-insecure-api-key.${key}`] : [protocol]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => (this.opened = true);
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = (closing) => this.#closed(closing);
  }

  receive(text) {
    this.tell(JSON.parse(text));
  }

  tell(event) {
    if (event.type === "error") this.lastError = event.error;
    this.handlers.onEvent(event);
  }

  #closed({ code }) {
    const unreachable = `The server at ${location.host} cannot be reached. Is “duologue serve” still running?`;
    const known = code === 1005 || code === 1000 ? null : (CLOSE_REMEDIES[code] ?? unreachable);
    const remedy = known && this.lastError && code !== 1006 ? `${this.lastError.message}. ${known}` : known;
    this.handlers.onClose({ code, remedy: this.opened ? remedy : unreachable });
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /** Leaves a block of sound out: while the network is behind, sound is dropped, not piled up. */
  drop(pcm) {
    this.handlers.onCongestion((this.droppedMs += pcm.length / (RATE_HZ / 1000)));
    return false;
  }

  close() {
    this.socket.onclose = null;
    this.socket.close(1000);
  }
}

export class RealtimeSocket extends ServerSocket {
  constructor({ model, key, handlers }) {
    super("realtime", { model }, key, handlers);
  }

  send(event) {
    if (!this.isOpen) return;
    this.socket.send(JSON.stringify(event));
    this.handlers.onSent(event);
  }

  /** Sends one block of sound, and says whether. */
  append(pcm) {
    if (!this.isOpen) return false;
    if (this.socket.bufferedAmount > FULL_BYTES) return this.drop(pcm);
    this.send({ type: "input_audio_buffer.append", audio: encodeBase64(pcm) });
    return true;
  }
}
