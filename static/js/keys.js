// A lasting key: what is signed is shown first, the secret is shown once, and the page lets go of it only when the
// person says that it is stored.
import { account, declined, prompt } from './wallet-provider.js';
import { openSignIn, sessionWallet } from './wallet-signin.js';
import { post } from './wallet-http.js';
import { ask } from './providerkey.js';

const make = (tag, text = '', name = '') => Object.assign(document.createElement(tag), { textContent: text, className: name });

function reveal(made) {
  const dialog = make('dialog', '', 'dialog');
  const head = make('header');
  head.setAttribute('role', 'none');
  const title = make('h2', 'Your key');
  title.id = 'key-once-title';
  dialog.setAttribute('aria-labelledby', title.id);
  head.append(title);
  const body = make('div');
  const secret = make('pre', made.key, 'message');
  secret.tabIndex = 0;
  secret.dataset.testid = 'key-secret';
  secret.setAttribute('aria-label', 'The key');
  body.append(make('p', `Slot ${made.slot}. This is the only time it is shown; it is not kept here.`), secret);
  const foot = make('footer');
  foot.setAttribute('role', 'none');
  const copy = make('button', 'Copy', 'button');
  copy.dataset.copy = made.key;
  const stored = make('button', 'I have stored it', 'button primary');
  stored.dataset.testid = 'key-stored';
  foot.append(copy, stored);
  dialog.append(head, body, foot);
  document.body.append(dialog);
  dialog.addEventListener('cancel', (event) => event.preventDefault()); // Esc must not lose it
  copy.addEventListener('click', () => { copy.textContent = 'Copied'; });
  stored.addEventListener('click', () => { dialog.remove(); location.reload(); });
  dialog.showModal();
}

async function run(form, say) {
  const fields = new FormData(form);
  const label = String(fields.get('label')).trim();
  if (!label) { say('Give the key a name first.'); form.elements.label.focus(); return; }
  try {
    await sessionWallet();
    const wanted = await post('/account/keys/new', { provider: fields.get('provider'), label, days: Number(fields.get('days')) });
    if (!await ask(wanted)) { say('You declined. No key was made.'); return; }
    const signature = await prompt('personal_sign', [wanted.digest, account()]);
    reveal(await post('/account/keys/create', { signature }));
    say('');
  } catch (error) {
    if (error.reason === 'step_up_required') { say(error.message); await openSignIn(); return; }
    say(declined(error) ? 'You declined. No key was made.' : error.message);
  }
}

const form = document.querySelector('[data-key-form]');
form?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = form.querySelector('[type="submit"]');
  button.disabled = true;
  const line = form.querySelector('[data-key-message]');
  await run(form, (text) => { line.textContent = text; });
  button.disabled = false;
});
