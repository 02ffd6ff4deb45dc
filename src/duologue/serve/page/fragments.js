// Which part of a reply's text was heard: each fragment of text lies on the samples from its own start to the next one's.

const LETTER_SAMPLES = 0.065 * 24000; // a letter's share of speech, until the sound itself tells

/** Appends `text`, whose sound begins at `atSamples` of the reply. */
export function add(entry, text, atSamples) {
  const last = entry.fragments.at(-1);
  if (last?.atSamples === atSamples) last.text += text;
  else entry.fragments.push({ text, atSamples });
}

export function joined(entry) {
  return entry.fragments.map(({ text }) => text).join("");
}

/** How many letters of the entry's text lie before the last played sample, cut back to a whole word. */
export function heardLetters(entry) {
  if (entry.textOnly || (entry.finished && !entry.cut)) return joined(entry).length;
  let letters = 0;
  for (const [n, { text, atSamples }] of entry.fragments.entries()) {
    const endSamples = entry.fragments[n + 1]?.atSamples ?? lastEnd(entry, text, atSamples);
    const share = (entry.playedSamples - atSamples) / Math.max(1, endSamples - atSamples);
    if (share < 1) return letters + wholeWords(text, Math.max(0, share));
    letters += text.length;
  }
  return letters;
}

function lastEnd({ received, receivedSamples }, text, atSamples) {
  return received ? receivedSamples : Math.max(receivedSamples, atSamples + text.length * LETTER_SAMPLES);
}

/** The end of the last word that ends within the first `share` of `text`. */
function wholeWords(text, share) {
  const limit = Math.floor(text.length * share);
  return Math.max(0, ...[...text.matchAll(/\S+/g)].map((m) => m.index + m[0].length).filter((end) => end <= limit));
}
