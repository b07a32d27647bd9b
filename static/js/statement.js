// A statement that waits for its signature: the wallet signs the text that stands on the page, and only the signature
// goes back.
import { account, declined, prompt } from './wallet-provider.js';
import { sessionWallet } from './wallet-signin.js';
import { post, toHex } from './wallet-http.js';
import { pressed } from './timing.js';
import { t } from './words.js';

const button = document.querySelector('[data-statement]');
if (button) {
  const line = document.querySelector('[data-statement-status]');
  const say = (text) => { line.textContent = text; };
  button.hidden = false;
  button.addEventListener('click', () => pressed(button, async () => {
    try {
      await sessionWallet();
      say(t('Confirm in your wallet. It is a message, not a transaction.'));
      const message = document.getElementById('statement').textContent;
      const signature = await prompt('personal_sign', [toHex(message), account()]);
      location.assign((await post(button.dataset.statement, { signature })).url);
    } catch (error) {
      say(declined(error) ? t('You declined. Nothing was published.') : error.message);
    }
  }));
}
