// A lasting key: what is signed is shown first, the secret is shown once.
import { account, declined, prompt } from './wallet-provider.js';
import { freshly, sessionWallet } from './wallet-signin.js';
import { post } from './wallet-http.js';
import { ask } from './providerkey.js';
import { reveal } from './reveal.js';
import { pressed } from './timing.js';
import { t } from './words.js';

async function run(form, say) {
  const fields = new FormData(form);
  const label = String(fields.get('label')).trim();
  if (!label) { say(t('Give the key a name first.')); form.elements.label.focus(); return; }
  try {
    await sessionWallet();
    const wanted = await freshly(() => post('/account/keys/new', { provider: fields.get('provider'), label, days: Number(fields.get('days')) }));
    if (!await ask(wanted)) { say(t('You declined. No key was made.')); return; }
    const signature = await prompt('personal_sign', [wanted.digest, account()]);
    const made = await freshly(() => post('/account/keys/create', { signature }));
    reveal({ title: t('Your key'), note: t('Slot {slot}. This is the only time it is shown; it is not kept here.', { slot: made.slot }), secret: made.key, testid: 'key' });
    say('');
  } catch (error) {
    say(declined(error) ? t('You declined. No key was made.') : error.message);
  }
}

const form = document.querySelector('[data-key-form]');
form?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = form.querySelector('[type="submit"]');
  const line = form.querySelector('[data-key-message]');
  await pressed(button, () => run(form, (text) => { line.textContent = text; }));
});
