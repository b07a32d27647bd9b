// The whole page once more, for news that came by itself. A reload would take the place of a navigation that is under way,
// and of a dialog: whoever has just gone to another page gets there, and whoever is being asked may answer first. What a person
// has just set going is not cut off, either.
const LEAVING = 5000;
const ASKED = 500;
let left = -LEAVING;
let acts = 0;
let going = false;
addEventListener("beforeunload", () => { left = performance.now(); });

// `work` of a person's own, which no reload interrupts: one that has begun is put off, since the page that it brings would
// know nothing of what was pressed.
export async function acting(work) {
  acts += 1;
  if (going) {
    going = false;
    window.stop();
    left = -LEAVING;
    reload();
  }
  try { return await work(); } finally { acts -= 1; }
}

export function reload() {
  // A download looks like leaving, and leaves the page where it is: then a moment later.
  const rest = acts || document.querySelector("dialog[open]") ? ASKED : left + LEAVING - performance.now();
  if (rest > 0) setTimeout(reload, rest);
  else {
    going = true;
    location.reload();
  }
}
