// What follows a transaction, once it is in our numbers.
import { reload } from './reload.js';

const COUNTED = ['indexed', 'final'];

document.addEventListener('tx:changed', ({ detail: { id, state, before } }) => {
  if (!COUNTED.includes(state)) return;
  // Collect all: the page is fetched again and shows the next one. The chain is the only memory, so a reload at any point
  // goes on where it was.
  if (document.querySelector('[data-collect]')) reload();
  // A step of several: the next one opens, and its review waits for the person. Not for whoever came back to it later.
  const next = document.querySelector(`[data-tx="${id}"] [data-next]`);
  if (next && !COUNTED.includes(before)) location.assign(next.href);
});
