// A question that is not sent yet outlives a way to the funds page and back, a reload, a sign-in: in this tab alone, for
// this account alone.
import { input } from './chat-composer.js';

const root = document.getElementById('chat');
const PREFIX = 'chat-draft:';
const account = () => document.querySelector('[data-session]')?.dataset.session ?? '';
const name = (who = account()) => `${PREFIX}${who}:${root.dataset.chat}`;

function keep() {
  try {
    if (input.value.trim()) sessionStorage.setItem(name(), input.value);
    else sessionStorage.removeItem(name()); // sent since, on a page that the way back showed again
  } catch { /* no storage in this browser */ }
}

// Taken out of the store at once. What a visitor wrote is of whoever signs in next; what another account left goes.
function back() {
  const found = sessionStorage.getItem(name()) ?? sessionStorage.getItem(name('')) ?? '';
  const own = `${PREFIX}${account()}:`;
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX) && !key.startsWith(own)) sessionStorage.removeItem(key);
  sessionStorage.removeItem(name());
  return found;
}

export function startDraft() {
  try {
    const found = back();
    if (!input.value) input.value = found;
  } catch { /* no storage in this browser */ }
  addEventListener('pagehide', keep);
}
