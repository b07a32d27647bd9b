// A transcript and its player: passages seek, and the one that is heard is marked.
import { ensureKey } from './providerkey.js';
import { t } from './words.js';

const player = document.querySelector('[data-player]');
const passages = () => [...document.querySelectorAll('[data-at]')];

document.addEventListener('click', ({ target }) => {
  const passage = target.closest?.('[data-at]');
  if (!passage) return;
  player.currentTime = Number(passage.dataset.at);
  player.play();
});

player.addEventListener('timeupdate', () => {
  const now = player.currentTime + 0.05;
  const heard = passages().filter((passage) => Number(passage.dataset.at) <= now).pop();
  for (const passage of passages()) passage === heard ? passage.setAttribute('aria-current', 'true') : passage.removeAttribute('aria-current');
});

document.body.addEventListener('htmx:beforeSwap', ({ detail }) => {
  if (detail.target?.id !== 'transcript' || detail.target.dataset.state !== 'running') return;
  const after = new DOMParser().parseFromString(detail.serverResponse, 'text/html').querySelector('[data-state]')?.dataset.state;
  const text = { done: t('The transcript is complete.'), incomplete: t('A part of the transcript is missing.') }[after];
  if (text) document.dispatchEvent(new CustomEvent('announce', { detail: { text } }));
});

// Going on may need a key that has expired meanwhile, or one for another provider.
document.addEventListener('submit', async (event) => {
  const provider = event.target.dataset.keyFor;
  if (!provider) return;
  event.preventDefault();
  try {
    await ensureKey(provider);
    event.target.submit();
  } catch (error) {
    document.dispatchEvent(new CustomEvent('toast', { detail: { tone: 'bad', text: error.message } }));
  }
});
