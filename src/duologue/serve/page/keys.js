// The keyboard, and holding the round button: Space talks, Esc interrupts, M mutes, / types.

/** `acts`: press(), release(), interrupt(), mute(); `live()` tells whether a call is on, `push()` whether it is push to talk. */
export function listenToKeys({ acts, live, push }) {
  const talk = document.getElementById("talk");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return acts.interrupt();
    if (writing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") take(event, () => document.getElementById("words").focus());
    if (!live()) return;
    if (event.key === "m" || event.key === "M") acts.mute();
    if (event.code === "Space" && talks(event.target)) take(event, () => event.repeat || acts.press());
  });
  document.addEventListener("keyup", (event) => {
    if (event.code === "Space" && live() && talks(event.target)) take(event, acts.release);
  });
  window.addEventListener("blur", acts.release);
  talk.addEventListener("pointerdown", () => live() && push() && acts.press());
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) talk.addEventListener(end, acts.release);
}

function take(event, act) {
  event.preventDefault();
  act();
}

function writing(node) {
  return node.matches("input:not([type=checkbox]), textarea, select");
}

/** During a call Space belongs to talking, unless another control has the focus. */
function talks(node) {
  return node.id === "talk" || !node.closest("button, summary, select, input, [popover]");
}
