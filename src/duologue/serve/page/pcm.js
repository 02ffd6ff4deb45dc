// PCM16 little-endian, as floats, as integers, as base64 and as a wav file.

export const RATE_HZ = 24000;

/** Floats in [-1, 1] to 16-bit integers; beyond the range they are clipped. */
export function toInt16(floats) {
  const pcm = new Int16Array(floats.length);
  for (let n = 0; n < floats.length; n++) {
    pcm[n] = Math.max(-32768, Math.min(32767, Math.round(floats[n] * 32768)));
  }
  return pcm;
}

export function toFloat32(pcm) {
  const floats = new Float32Array(pcm.length);
  for (let n = 0; n < pcm.length; n++) floats[n] = pcm[n] / 32768;
  return floats;
}

export function encodeBase64(pcm) {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  let text = "";
  for (let n = 0; n < bytes.length; n += 8192) text += String.fromCharCode(...bytes.subarray(n, n + 8192));
  return btoa(text);
}

export function decodeBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** Root mean square of 16-bit samples, as a share of full scale. */
export function level(pcm) {
  let sum = 0;
  for (const sample of pcm) sum += sample * sample;
  return pcm.length === 0 ? 0 : Math.sqrt(sum / pcm.length) / 32768;
}

/** The 44 bytes that make `dataBytes` of PCM16 a wav file. */
export function wavHeader(dataBytes, channels) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((c, n) => view.setUint8(at + n, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + dataBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, RATE_HZ, true);
  view.setUint32(28, RATE_HZ * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, dataBytes, true);
  return view.buffer;
}
