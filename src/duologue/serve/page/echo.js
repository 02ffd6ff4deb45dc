// Echo: the remedy (play through peer connections, which every canceller listens to) and its discovery.

const CONNECT_TIMEOUT_MS = 4000;
const WINDOW_BINS = 300; // 10 ms each
const LONGEST_LAG_BINS = 40;

/** Plays `stream` through a pair of peer connections of this page. Rejects when they do not connect. */
export async function throughPeers(stream) {
  const [here, there] = [new RTCPeerConnection(), new RTCPeerConnection()];
  const speaker = new Audio();
  const close = () => [here, there].forEach((peer) => peer.close());
  here.onicecandidate = ({ candidate }) => candidate && there.addIceCandidate(candidate);
  there.onicecandidate = ({ candidate }) => candidate && here.addIceCandidate(candidate);
  there.ontrack = ({ track }) => (speaker.srcObject = new MediaStream([track]));
  stream.getTracks().forEach((track) => here.addTrack(track, stream));
  await here.setLocalDescription();
  await there.setRemoteDescription(here.localDescription);
  await there.setLocalDescription();
  await here.setRemoteDescription(there.localDescription);
  await connected(here).catch((error) => {
    close();
    throw error;
  });
  await speaker.play();
  return { close: () => (speaker.pause(), close()) };
}

function connected(peer) {
  return new Promise((resolve, reject) => {
    const fail = () => reject(new Error("the page could not connect to itself"));
    const timer = setTimeout(fail, CONNECT_TIMEOUT_MS);
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === "connected") resolve(clearTimeout(timer));
      if (peer.connectionState === "failed") fail();
    };
  });
}

/**
 * How much of the reply the microphone hears: the largest correlation of the two loudness curves over the last
 * three seconds, the microphone being up to 400 ms later. Zero while either side is silent.
 */
export function echoShare(you, duologue) {
  const end = Math.min(you.length, duologue.length);
  if (end < WINDOW_BINS + LONGEST_LAG_BINS) return 0;
  const heard = you.loudness(end - WINDOW_BINS, end);
  let largest = 0;
  for (let lag = 0; lag <= LONGEST_LAG_BINS; lag += 2) {
    const played = duologue.loudness(end - WINDOW_BINS - lag, end - lag);
    largest = Math.max(largest, correlation(heard, played));
  }
  return largest;
}

function correlation(a, b) {
  const [meanA, meanB] = [a, b].map((x) => x.reduce((sum, v) => sum + v, 0) / x.length);
  let [ab, aa, bb] = [0, 0, 0];
  for (let n = 0; n < a.length; n++) {
    const [x, y] = [a[n] - meanA, b[n] - meanB];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa < 1e-3 || bb < 1e-3 ? 0 : ab / Math.sqrt(aa * bb);
}
