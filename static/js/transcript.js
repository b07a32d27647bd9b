// A transcript and its player: passages and words seek, and those that are heard are marked.
import { ensureKey } from './providerkey.js';
import { announce, warn } from './toast.js';
import { t } from './words.js';

const player = document.querySelector('[data-player]');
const passages = () => [...document.querySelectorAll('[data-at]')];
const seek = (seconds) => { player.currentTime = Number(seconds); player.play().catch(() => {}); }; // a player that may not play was sought all the same

document.addEventListener('click', ({ target }) => {
  const passage = target.closest?.('[data-at]');
  if (!passage) return;
  seek(target.closest('[data-word]')?.dataset.word ?? passage.dataset.at);
});

// The words of a passage are no buttons of their own, or there would be thousands: the arrow keys go from one to the next.
document.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const words = step ? [...(event.target.closest?.('[data-at]')?.querySelectorAll('[data-word]') ?? [])] : [];
  if (!words.length) return;
  event.preventDefault();
  const now = words.filter((word) => Number(word.dataset.word) <= player.currentTime + 0.05).length - 1;
  seek(words[Math.min(words.length - 1, Math.max(0, now + step))].dataset.word);
});

player.addEventListener('timeupdate', () => {
  const now = player.currentTime + 0.05;
  const heard = passages().filter((passage) => Number(passage.dataset.at) <= now).pop();
  for (const passage of passages()) passage === heard ? passage.setAttribute('aria-current', 'true') : passage.removeAttribute('aria-current');
  const word = [...(heard?.querySelectorAll('[data-word]') ?? [])].filter((one) => Number(one.dataset.word) <= now).pop();
  for (const one of document.querySelectorAll('[data-heard]')) if (one !== word) one.removeAttribute('data-heard');
  word?.setAttribute('data-heard', '');
});

document.body.addEventListener('htmx:beforeSwap', ({ detail }) => {
  if (detail.target?.id !== 'transcript' || detail.target.dataset.state !== 'running') return;
  const after = new DOMParser().parseFromString(detail.serverResponse, 'text/html').querySelector('[data-state]')?.dataset.state;
  const text = { done: t('The transcript is complete.'), incomplete: t('A part of the transcript is missing.') }[after];
  if (text) announce(text);
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
    warn(error.message);
  }
});
