// The whole page once more, for news that came by itself. A reload would take the place of a navigation that is under way,
// and of a dialog: whoever has just gone to another page gets there, and whoever is being asked may answer first.
const LEAVING = 5000;
const ASKED = 500;
let left = -LEAVING;
addEventListener("beforeunload", () => { left = performance.now(); });

export function reload() {
  // A download looks like leaving, and leaves the page where it is: then a moment later.
  const rest = document.querySelector("dialog[open]") ? ASKED : left + LEAVING - performance.now();
  if (rest > 0) setTimeout(reload, rest);
  else location.reload();
}
