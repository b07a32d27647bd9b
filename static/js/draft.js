// What is written and not sent yet outlives a way to the funds page and back, a reload, a sign-in: in this tab alone, for
// this account alone.
const PREFIX = 'draft:';
const account = () => document.querySelector('[data-session]')?.dataset.session ?? '';

// Taken out of the store at once. What a visitor wrote is of whoever signs in next; what another account left goes.
function back(name) {
  const found = sessionStorage.getItem(name(account())) ?? sessionStorage.getItem(name('')) ?? '';
  const own = `${PREFIX}${account()}:`;
  // Not for a visitor, who may be its owner once their session has ended.
  if (account()) for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX) && !key.startsWith(own)) sessionStorage.removeItem(key);
  sessionStorage.removeItem(name(account()));
  return found;
}

// For the field `input` of the page that is called `place()` now. What is returned says that it was sent, though it still
// stands there.
export function startDraft(input, place) {
  const name = (who) => `${PREFIX}${who}:${place()}`;
  let sent = false;
  try {
    const found = back(name);
    if (!input.value) input.value = found;
    // Whoever comes back from the funds goes on here; after a reload the browser knows the place itself.
    const arrived = performance.getEntriesByType('navigation')[0]?.type === 'navigate';
    if (found && arrived && input.getBoundingClientRect().bottom > innerHeight) input.scrollIntoView({ block: 'center' });
  } catch { /* no storage in this browser */ }
  addEventListener('pageshow', () => { sent = false; });
  document.querySelector('[data-sign-out]')?.addEventListener('submit', () => { sent = true; }); // not kept either
  addEventListener('pagehide', () => {
    try {
      if (input.value.trim() && !sent) sessionStorage.setItem(name(account()), input.value);
      else sessionStorage.removeItem(name(account())); // sent since, on a page that the way back showed again
    } catch { /* no storage in this browser */ }
  });
  return () => { sent = true; };
}

// Opens the choice of wallets for a visitor and says so: what is written waits in its field until they are signed in.
export function signInFirst() {
  const connect = document.querySelector('#gate [data-connect]:not([hidden])');
  connect?.click();
  return Boolean(connect);
}
