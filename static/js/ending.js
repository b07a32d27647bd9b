// A page whose session ended (line.js hears it) is emptied by a reload, but not while its wallet is open, nor while it waits
// for the answer that a reload would throw away, nor under a dialog: that may show a secret for the only time.
import { reload } from "./reload.js";

let open = 0;
let ended = false;

document.addEventListener("session:ended", () => {
  ended = true;
  if (!open) reload();
});

// What the page says at the end of `work` can be read for `rest` milliseconds.
export async function beforeEnding(work, rest = 0) {
  open += 1;
  try { return await work(); } finally {
    open -= 1;
    if (ended && !open) setTimeout(reload, rest);
  }
}
