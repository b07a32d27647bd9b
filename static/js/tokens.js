// Personal access tokens: made and replaced here, each secret shown once.
import { post } from './wallet-http.js';
import { freshly } from './wallet-signin.js';
import { reveal } from './reveal.js';
import { pressed } from './timing.js';
import { t } from './words.js';

const form = document.querySelector('[data-token-form]');
const line = form?.querySelector('[data-token-message]');

function wanted() {
  const fields = new FormData(form);
  const text = (name) => String(fields.get(name) ?? '').trim();
  return {
    label: text('label'),
    scopes: fields.getAll('scopes'),
    days: Number(text('days')),
    per_minute: Number(text('per_minute')),
    spend_limit: text('spend_limit'),
    models: text('models'),
    providers: text('providers'),
    verified_only: fields.has('verified_only'),
  };
}

async function secretOf(path, body, note) {
  await tried(path, body, (made) => {
    reveal({ title: t('Your token'), note, secret: made.token, testid: 'token' });
    line.textContent = '';
  });
}

async function tried(path, body, done) {
  try { done(await freshly(() => post(path, body))); } catch (error) { line.textContent = error.message; }
}

form?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const body = wanted();
  if (!body.label) { line.textContent = t('Say what it is for first.'); form.elements.label.focus(); return; }
  const changed = form.dataset.tokenChange;
  if (!changed && !body.scopes.length) { line.textContent = t('Choose what it may do.'); form.elements.scopes[0].focus(); return; }
  const button = form.querySelector('[type="submit"]');
  await pressed(button, () => (changed
    ? tried(changed, body, () => location.replace('/account/keys#tokens'))
    : secretOf('/account/tokens/create', body, t('This is the only time it is shown; what is kept here cannot be turned back into it.'))));
});

for (const button of document.querySelectorAll('[data-token-rotate]')) {
  // Twice would end the secret that is shown first.
  button.addEventListener('click', () => pressed(button, () => secretOf(button.dataset.tokenRotate, {}, t('A new secret for the same token, shown once. The old one works for another 24 hours, then it ends.'))));
}
