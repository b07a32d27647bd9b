// Collect all: when one transaction is in our numbers, the page is fetched again and shows the next one. The chain is
// the only memory, so a reload at any point goes on where it was.
import { reload } from './reload.js';

document.addEventListener('tx:changed', (event) => {
  if (!document.querySelector('[data-collect]') || !['indexed', 'final'].includes(event.detail.state)) return;
  reload();
});
