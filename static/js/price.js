// Amounts and requests that the forms of pictures, speech and embeddings need.
import { signInFirst, startDraft } from './draft.js';
import { ensureKey } from './providerkey.js';
import { post, Refusal } from './wallet-http.js';
import { t } from './words.js';

// An amount in US dollars, in brackets behind it, as `probes.dollars` says it; nothing where the page shows none. The form has the
// price: millionths of a dollar for 1 0G, so that the product is in units of 10^-24 dollars.
export function dollars(form, neuron) {
  const value = neuron * BigInt(form.dataset.dollars || 0);
  if (!value) return '';
  if (value < 10n ** 18n) return ' (<\u00a0$0.000001)';
  const written = (places) => {
    const unit = 10n ** BigInt(24 - places);
    const even = (value / unit) % 2n === 0n ? 1n : 0n; // a half goes to the even digit, as on the server
    const rounded = ((value + unit / 2n - even) / unit).toString().padStart(places + 1, '0');
    return `${BigInt(rounded.slice(0, -places)).toLocaleString('en')}.${rounded.slice(-places)}`;
  };
  // Below a cent two digits that count; what is rounded up to a cent is written as one.
  const small = value < 995n * 10n ** 19n;
  return ` (≈\u00a0$${written(small ? 26 - value.toString().length : 2)})`;
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

// What a form asks for, to tell whether it was changed. (A field without a file makes up a new empty one each time.)
const asked = (form) => JSON.stringify([...new FormData(form)]
  .filter(([name]) => name !== 'key' && name !== 'accept_signer')
  .map(([name, value]) => [name, value instanceof File ? value.size && [value.name, value.size, value.lastModified] : value]));

// Sending: what stands in the way is said, the wallet makes a key where one is missing, then the form goes as it is,
// and only when it was taken the page is left: what the server refuses (a recording just made, a mask) is still here.
// The same sent again keeps its key, as its answer alone may have been lost: it is paid once. What was changed is another request.
// `prepare` may finish the form, or throw what is wrong with it.
export function startSending(form, prepare = () => {}) {
  const button = form.querySelector('[data-send]');
  const renew = () => { form.elements.key.value = crypto.randomUUID(); };
  const written = form.querySelector('textarea');
  const forget = written ? startDraft(written, () => location.pathname) : () => {};
  let sent = '';
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.getAttribute('aria-busy') === 'true') return;
    if (signInFirst()) return;
    if (document.getElementById('gate').dataset.ready !== 'yes') { fail(form, t('One step is missing: see above the form.')); return; }
    document.querySelector('[data-error]').hidden = true;
    button.setAttribute('aria-busy', 'true');
    try {
      await prepare();
      await ensureKey(form.elements.provider.value);
      const now = asked(form);
      if (sent && sent !== now) renew();
      sent = now;
      const answer = await post(form.action, new FormData(form));
      if (!answer.href) throw new Refusal(answer, 200);
      forget();
      location.assign(answer.href);
    } catch (error) {
      if (error.reason === 'bad_prompt') renew(); // not taken under this key, which may have been used for something else
      fail(form, error.message, error.problem);
      button.removeAttribute('aria-busy');
    }
  });
  // Back from the next page: the button must not still look busy, and what is sent now is another request.
  addEventListener('pageshow', ({ persisted }) => {
    button.removeAttribute('aria-busy');
    if (persisted) renew();
  });
}

// What the chosen option costs per unit; neuron.
export function unit(form, which) {
  const chosen = form.elements.provider.selectedOptions[0];
  const [input, output] = [BigInt(chosen?.dataset.input ?? 0), BigInt(chosen?.dataset.output ?? 0)];
  return which === 'output' || output > input ? output : input;
}
