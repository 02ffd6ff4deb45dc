// The wire: one WebSocket that speaks the Realtime protocol with the server this page came from.

import { encodeBase64 } from "./pcm.js";

const FULL_BYTES = 256 * 1024;

const CLOSE_REMEDIES = {
  1001: "The conversation reached its longest duration. Start a new one.",
  1008: "The server ended the conversation. Start again.",
  1011: "Something broke in this conversation on the server. Start again; its log tells more.",
  1012: "The server is restarting. Start again in a minute.",
  1013: "All places are taken. Try again in a minute.",
};

export class RealtimeSocket {
  /** `handlers`: onEvent(event), onSent(event), onCongestion(droppedMs), onClose({clean, remedy}). */
  constructor({ model, key, handlers }) {
    const url = new URL("v1/realtime", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    if (model) url.searchParams.set("model", model);
    this.handlers = handlers;
    this.lastError = null;
    this.droppedMs = 0;
    this.opened = false;
    this.socket = new WebSocket(url, key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"]);
    this.socket.onopen = () => (this.opened = true);
    this.socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.socket.onclose = (closing) => this.#closed(closing);
  }

  #receive(event) {
    if (event.type === "error") this.lastError = event.error;
    this.handlers.onEvent(event);
  }

  #closed({ code }) {
    const unreachable = `The server at ${location.host} cannot be reached. Is “duologue serve” still running?`;
    const known = code === 1005 || code === 1000 ? null : (CLOSE_REMEDIES[code] ?? unreachable);
    const remedy = known && this.lastError && code !== 1006 ? `${this.lastError.message}. ${known}` : known;
    this.handlers.onClose({ code, remedy: this.opened ? remedy : unreachable });
  }

  send(event) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify(event));
    this.handlers.onSent(event);
  }

  /** Sends one block of sound, and says whether: while the network is behind, sound is dropped, not piled up. */
  append(pcm) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    if (this.socket.bufferedAmount > FULL_BYTES) {
      this.handlers.onCongestion((this.droppedMs += pcm.length / 24));
      return false;
    }
    this.send({ type: "input_audio_buffer.append", audio: encodeBase64(pcm) });
    return true;
  }

  close() {
    this.socket.onclose = null;
    this.socket.close(1000);
  }
}
