// How answers come to their reader: as they are written, also spoken sentence by sentence, or at once when complete.
// Kept in this browser, like what is folded: it belongs to the device and its screen reader.
const choice = document.querySelector('[name="reading"]');
const spoken = document.querySelector('[data-sentences]');
const SENTENCE = /^[^]*?(?:[.!?\u2026:](?=\s)|\n)/;
const LONGEST = 400;
const rest = new Map(); // turn → text of a sentence that has not ended

export const whole = () => choice.value === 'whole';

// Say what has become whole sentences; `last` says the rest too.
export function speak(turn, text, last = false) {
  if (choice.value !== 'sentences') return;
  let waiting = (rest.get(turn) ?? '') + text;
  for (let found; (found = SENTENCE.exec(waiting) ?? (waiting.length > LONGEST || (last && waiting) ? [waiting] : null));) {
    waiting = waiting.slice(found[0].length);
    if (found[0].trim()) spoken.append(Object.assign(document.createElement('p'), { textContent: found[0].trim() }));
  }
  if (last) { rest.delete(turn); while (spoken.children.length > 40) spoken.firstElementChild.remove(); } else rest.set(turn, waiting);
}

// What is folded and chosen stays so in this browser; where nothing may be kept, it is as it was.
for (const element of document.querySelectorAll('[data-remember]')) {
  const details = element.tagName === 'DETAILS';
  try {
    const kept = localStorage.getItem(element.dataset.remember);
    // A small window has no room for open settings above its keyboard.
    if (kept !== null && details) element.open = kept === 'open' && !(element.closest('form') && matchMedia('(max-width: 40em)').matches);
    else if (kept !== null) element.value = kept;
  } catch { /* no storage in this browser */ }
}
addEventListener('toggle', ({ target }) => keep(target, target.open ? 'open' : 'closed'), { capture: true });
addEventListener('change', ({ target }) => keep(target, target.value));

function keep(element, value) {
  if (!element.dataset?.remember) return;
  try { localStorage.setItem(element.dataset.remember, value); } catch { /* no storage in this browser */ }
}
