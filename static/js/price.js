// Amounts and requests that both forms of pictures and speech need.
import { ensureKey } from './providerkey.js';
import { post, Refusal } from './wallet-http.js';
import { t } from './words.js';

// Neuron as 0G, exact: "0.006". A price must not be rounded to something else than is paid.
export function og(neuron) {
  const digits = neuron.toString().padStart(19, '0');
  const rest = digits.slice(-18).replace(/0+$/, '');
  return digits.slice(0, -18) + (rest ? `.${rest}` : '');
}

// `href` is where one may read on; `signer` a new key of the provider's, which the next try may accept.
const fail = (form, sentence, { href = '', signer = '' } = {}) => {
  const box = document.querySelector('[data-error]');
  box.querySelector('[data-error-text]').textContent = sentence;
  const link = box.querySelector('[data-error-link]');
  link.hidden = !href;
  link.href = href;
  const accepting = form.querySelector('[data-new-signer]');
  accepting.hidden = !signer;
  Object.assign(form.elements.accept_signer, { value: signer, checked: false });
  box.hidden = !sentence;
  if (sentence) box.scrollIntoView({ block: 'nearest' });
};

// Sending: what stands in the way is said, the wallet makes a key where one is missing, then the form goes as it is,
// and only when it was taken the page is left: what the server refuses (a recording just made, a mask) is still here.
// `prepare` may finish the form, or throw what is wrong with it.
export function startSending(form, prepare = () => {}) {
  const button = form.querySelector('[data-send]');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.getAttribute('aria-busy') === 'true') return;
    if (document.getElementById('gate').dataset.ready !== 'yes') { fail(form, t('One step is missing: see above the form.')); return; }
    document.querySelector('[data-error]').hidden = true;
    button.setAttribute('aria-busy', 'true');
    try {
      await prepare();
      await ensureKey(form.elements.provider.value);
      const answer = await post(form.action, new FormData(form));
      if (!answer.href) throw new Refusal(answer, 200);
      location.assign(answer.href);
    } catch (error) {
      fail(form, error.message, error.problem);
      button.removeAttribute('aria-busy');
    }
  });
  // Back from the next page: the button must not still look busy, and what is sent now is another request.
  addEventListener('pageshow', ({ persisted }) => {
    button.removeAttribute('aria-busy');
    if (persisted) form.elements.key.value = crypto.randomUUID();
  });
  const undo = document.querySelector('[data-undo]');
  if (undo) setTimeout(() => undo.remove(), 8000);
}

// What the chosen option costs per unit; neuron.
export function unit(form, which) {
  const chosen = form.elements.provider.selectedOptions[0];
  const [input, output] = [BigInt(chosen?.dataset.input ?? 0), BigInt(chosen?.dataset.output ?? 0)];
  return which === 'output' || output > input ? output : input;
}
