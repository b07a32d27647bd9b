// The turns on the page. While an answer streams, text is only ever appended: closed blocks as the server's HTML, the
// tail behind them as text. At its end it is replaced by what the server stored.
import { speak, whole } from './chat-reading.js';
import { heed } from './toast.js';
import { t } from './words.js';

const WATCH_EVERY = 4000;
const LONGEST_LOOK = 30000;
const NEAR_BOTTOM = 160;
const AT_BOTTOM = 8;
const TELL_EVERY = 500;
const USUAL_LENGTH = 4; // letters of a token, as the server estimates it (inference/costs.py)

const TOKENS = /name="csrfmiddlewaretoken" value="[^"]*"/g; // different in every answer

let left = false; // scrolled up, and not back at the end: each word would pull whoever reads down again
let was = scrollY;

const root = document.getElementById('turns');
const below = document.querySelector('[data-below]');
const composer = document.getElementById('composer');
// How far the end of the conversation lies below the window; on a narrow one more of the page follows it.
const hidden = () => root.parentElement.getBoundingClientRect().bottom + (parseFloat(getComputedStyle(composer).bottom) || 0) - innerHeight;
const bottom = () => !left && hidden() < NEAR_BOTTOM;
const toBottom = () => scrollBy({ top: Math.max(0, hidden()), behavior: 'instant' });
// Whoever saw the end `before` goes on seeing it, in the same place: *Stop* stands there, and would move away under whoever
// presses it. As the conversation grows, and where it shrinks (thoughts fold). The browser holds no place of its own in
// what is being written (chat.css).
function follow(before) {
  if (left || before >= NEAR_BOTTOM) return false;
  scrollBy({ top: hidden() - Math.min(0, before), behavior: 'instant' });
  was = scrollY;
  return true;
}
// A page that is shorter than its window cannot follow: room for what is written comes first. As much as this window has,
// also once a phone is turned, or its keyboard goes: what is too much would stand between an answer and the composer.
function makeRoom() {
  root.style.minHeight = `${Math.max(0, root.offsetHeight - hidden() - scrollY)}px`;
  addEventListener('resize', makeRoom);
}
addEventListener('beforeprint', () => { root.style.minHeight = ''; });
const fragment = (html) => document.createRange().createContextualFragment(html);

// What is open and what has the focus in an answer, by its place: the fresh one has the same in the same order.
const ACTIONS = 'a, button, details:not([hidden]) > summary';
const FOLDED = 'details:not([hidden])';
const place = (element, focused) => [...element.querySelectorAll(ACTIONS)].indexOf(focused);
const opened = (element) => [...element.querySelectorAll(FOLDED)].flatMap(({ open }, at) => (open ? [at] : []));

// Code blocks get a copy button; without JavaScript there is nothing to copy with.
function copyButtons(element) {
  const icon = document.getElementById('copy-button')?.content;
  for (const code of element.querySelectorAll('.prose .codeblock:not([data-copies])')) {
    code.dataset.copies = '';
    const button = icon.firstElementChild.cloneNode(true);
    button.dataset.copy = code.querySelector('pre').textContent;
    code.prepend(button);
  }
}

// The provider asked for some patience: the button counts it down (five minutes at most), then works.
function countDown(element) {
  for (const button of element.querySelectorAll('[data-wait]')) {
    let left = Math.min(Number(button.dataset.wait), 300);
    const tick = () => {
      if (!button.isConnected) return;
      button.disabled = left > 0;
      button.lastChild.data = left > 0 ? t('Ask again in {seconds} s', { seconds: left }) : t('Ask again');
      if (left > 0) setTimeout(tick, 1000);
      left -= 1;
    };
    tick();
  }
}

export class Thread {
  constructor() {
    this.turns = new Map(); // turn id → {element, text, seq, shown, work, over}
    this.adoptAll();
    if (this.turns.size && !location.hash && performance.getEntriesByType('navigation')[0]?.type === 'navigate') {
      toBottom(); // a conversation opens at its newest answer
      document.fonts.ready.then(() => { if (bottom()) toBottom(); });
    }
    below?.addEventListener('click', () => { toBottom(); below.hidden = true; });
    addEventListener('scroll', () => {
      const far = hidden();
      left = far > AT_BOTTOM && (left || scrollY < was);
      was = scrollY;
      if (bottom()) below.hidden = true;
    }, { passive: true });
  }

  adopt(id, element) {
    const turn = { element, seq: 0, text: null, shown: 0, work: Promise.resolve() };
    this.turns.set(id, turn);
    element.id = `turn-${id}`;
    element.dataset.turn = id;
    this.watch(id, turn);
    return turn;
  }

  adoptAll() {
    for (const element of root.querySelectorAll('[data-turn]')) this.adopt(Number(element.dataset.turn), element);
    copyButtons(root);
    if (this.open().length) makeRoom();
  }

  // The conversation went on elsewhere: what the server has stands in place of what was shown.
  renew(turns) {
    for (const { timer } of this.turns.values()) clearTimeout(timer);
    this.turns.clear();
    root.replaceChildren(...turns.childNodes);
    this.adoptAll();
    window.htmx?.process(root);
    toBottom();
  }

  // Look again in a moment; asked twice, once.
  later(id, turn) {
    clearTimeout(turn.timer);
    turn.timer = setTimeout(() => this.refresh(id), WATCH_EVERY);
  }

  watch(id, turn) {
    clearTimeout(turn.timer);
    if ('watched' in turn.element.dataset) this.later(id, turn);
  }

  // A question that is on its way, in place of the version it replaces; the server's numbers follow with `begun`. Results of
  // the functions that turn `called` asks for stand in place of what came after it.
  begin(question, again, pictures = [], called = null, results = []) {
    document.getElementById('nothing-yet')?.remove();
    const article = document.getElementById('new-turn').content.firstElementChild.cloneNode(true);
    article.sent = performance.now();
    const old = again && document.getElementById(`asked-${again}`);
    const asked = article.querySelector('[data-question]');
    asked.textContent = question || results.join('\n') || old?.querySelector('.question').textContent || '';
    asked.hidden = !asked.textContent;
    asked.before(...[...(old?.querySelectorAll('[data-given]') ?? [])].map((given) => given.cloneNode(true)));
    const answered = called && document.getElementById(`turn-${called}`);
    // It is the last answer's to be open, and the settings stand where that is read.
    article.folded = [...root.querySelectorAll('details[open]:has(> [data-results])'), ...composer.querySelectorAll('.settings[open]')];
    for (const form of article.folded) {
      if (form.contains(document.activeElement)) form.querySelector('summary').focus({ preventScroll: true });
      form.open = false;
    }
    // "Continue" goes on after the last answer, which those above are no more.
    article.past = root.querySelectorAll('form:not([hidden]):has(> [name="draft"])');
    for (const form of article.past) form.hidden = true;
    if (pictures.length) {
      const shown = Object.assign(document.createElement('div'), { className: 'pictures' });
      shown.append(...pictures.map(({ path, width, height }) => Object.assign(new Image(width, height), { src: path, alt: t('Picture of your question') })));
      article.querySelector('[data-question]').before(shown);
    }
    article.replaced = [];
    const from = old || answered?.closest('.turn').nextElementSibling;
    while (from && from.parentElement === root) {
      const next = root.lastElementChild;
      article.replaced.unshift(next);
      next.remove();
      if (next === from) break;
    }
    root.append(article);
    makeRoom();
    left = false;
    scrollBy({ top: hidden(), behavior: 'instant' }); // back, too, where what made room was longer
    return article;
  }

  // The server refused: what was there before comes back.
  undo(article) {
    const before = hidden();
    article.replaceWith(...(article.replaced ?? []));
    for (const form of article.folded ?? []) form.open = true;
    for (const form of article.past ?? []) form.hidden = false;
    follow(before);
  }

  begun(article, ids) {
    const answers = article.querySelector('.answers');
    const first = answers.firstElementChild;
    while (answers.children.length < ids.length) answers.append(first.cloneNode(true));
    answers.toggleAttribute('data-columns', ids.length > 1);
    ids.forEach((id, index) => { this.adopt(id, answers.children[index]).sent = article.sent; });
    article.dataset.asked = ids[0];
    article.id = `asked-${ids[0]}`;
  }

  // Turns that are still being written, and the last number we have of each.
  open() {
    const writing = ([, { element, over }]) => element.isConnected && !over && element.dataset.state === 'open';
    return [...this.turns].filter(writing).map(([id, { seq }]) => [id, seq]);
  }

  next(id, seq) {
    const turn = this.turns.get(id);
    if (!turn || seq <= turn.seq) return null;
    turn.seq = seq;
    return turn;
  }

  // How fast an answer comes that was asked here, from the press of the button, until the server's own numbers take the place,
  // from where it asked the provider. (One that was being written before comes in one piece up to now.)
  pace(turn, text) {
    if (!turn.sent) return;
    const now = performance.now();
    turn.first ??= now;
    turn.letters = (turn.letters ?? 0) + text.length;
    if (now - (turn.told ?? 0) < TELL_EVERY) return;
    turn.told = now;
    const seconds = ((turn.first - turn.sent) / 1000).toFixed(1);
    const speed = Math.round(turn.letters / USUAL_LENGTH / ((now - turn.first) / 1000));
    const line = turn.element.querySelector('[data-pace]');
    if (!line) return;
    line.hidden = false;
    line.textContent = now > turn.first ? t('First token {seconds} s after you asked, about {speed} tok/s', { seconds, speed }) : t('First token {seconds} s after you asked', { seconds });
  }

  append(turn, change) {
    const before = hidden();
    change();
    if (!follow(before)) below.hidden = false;
  }

  delta(id, seq, text) {
    const turn = this.next(id, seq);
    if (!turn) return;
    this.pace(turn, text);
    speak(id, text);
    if (whole()) return; // shown at its end
    this.append(turn, () => {
      if (!turn.text) {
        turn.text = document.createTextNode('');
        turn.element.querySelector('[data-text]')?.append(turn.text);
        turn.element.querySelector('[data-waiting]')?.remove();
      }
      turn.text.appendData(text);
    });
  }

  // The answer up to its `upto`-th character is closed: show it as HTML, keep the rest as text.
  block(id, seq, upto, html) {
    const turn = this.next(id, seq);
    const place = turn?.element.querySelector('[data-blocks]');
    if (!place || !turn.text || upto <= turn.shown) return;
    this.append(turn, () => {
      // JavaScript counts UTF-16 units, the server characters.
      let units = 0;
      for (const character of turn.text.data) {
        if (turn.shown === upto) break;
        turn.shown += 1;
        units += character.length;
      }
      turn.text.deleteData(0, units);
      place.append(fragment(html));
      copyButtons(turn.element);
    });
  }

  reasoning(id, seq, text) {
    const turn = this.next(id, seq);
    if (turn) this.pace(turn, text);
    const box = turn?.element.querySelector('[data-reasoning]');
    if (!box || whole()) return;
    box.hidden = false;
    turn.element.querySelector('[data-waiting]')?.remove();
    this.append(turn, () => box.querySelector('p').append(text));
  }

  // The answer calls a function, whose arguments follow.
  call(id, seq, name) {
    const turn = this.next(id, seq);
    if (turn) this.pace(turn, name);
    const place = turn?.element.querySelector('[data-calls]');
    if (!place || whole()) return;
    turn.element.querySelector('[data-waiting]')?.remove();
    const title = Object.assign(document.createElement('p'), { className: 'note', textContent: t('Calls the function {name}', { name }) });
    turn.called = Object.assign(document.createElement('p'), { className: 'streaming mono' });
    this.append(turn, () => place.append(title, turn.called));
  }

  argument(id, seq, text) {
    const turn = this.next(id, seq);
    if (turn) this.pace(turn, text);
    if (turn?.called) this.append(turn, () => turn.called.append(text));
  }

  // It has ended, also where what the server stored of it cannot be had just now.
  ended(id) {
    const turn = this.turns.get(id);
    if (turn) turn.over = true;
  }

  // Replace the turn by what the server stored. One at a time, so that an older answer never wins.
  refresh(id) {
    const turn = this.turns.get(id);
    if (!turn) return Promise.resolve();
    turn.work = turn.work.then(async () => {
      const response = await fetch(`/playground/chat/turns/${id}`, { credentials: 'same-origin', signal: AbortSignal.timeout(LONGEST_LOOK) });
      if (response.status >= 400 && response.status < 500 && response.status !== 429) return; // not ours any more: signed out, or deleted
      if (!response.ok) throw new Error(`status ${response.status}`);
      const text = await response.text();
      const markup = text.replace(TOKENS, '');
      // Asked again while a verdict is waited for: what is the same stays, and with it what somebody has marked of it.
      if (turn.markup === markup) { this.watch(id, turn); return; }
      const fresh = fragment(text);
      const before = hidden();
      const article = turn.element.closest('.turn');
      const answer = fresh.getElementById(`turn-${id}`);
      // What can be done with the question changes with its answer.
      const said = fresh.querySelector('.turn > .said');
      const focused = article?.contains(document.activeElement);
      const replaced = said && article && !focused && !this.writing(article, id);
      if (replaced) article.querySelector(':scope > .said').replaceWith(said);
      turn.markup = replaced ? markup : '';
      // What is being written as a result stays: the verdict may come minutes after the calls.
      const form = turn.element.querySelector('[data-results]')?.parentElement;
      const field = form?.contains(document.activeElement) ? document.activeElement : null;
      if (form) answer.querySelector('[data-results]')?.parentElement.replaceWith(form);
      const within = field ? null : place(turn.element, document.activeElement);
      for (const at of opened(turn.element)) answer.querySelectorAll(FOLDED)[at]?.setAttribute('open', '');
      turn.element.replaceWith(answer);
      turn.element = answer;
      copyButtons(answer);
      (field ?? answer.querySelectorAll(ACTIONS)[within])?.focus({ preventScroll: true });
      countDown(answer);
      window.htmx?.process(answer);
      heed();
      follow(before);
      this.watch(id, turn);
    }).catch(() => this.later(id, turn));
    return turn.work;
  }

  // Whether another column of the same question is still being written.
  writing(article, id) {
    return [...article.querySelectorAll('[data-state="open"]')].some((element) => Number(element.dataset.turn) !== id);
  }

  question(id) {
    return document.getElementById(`asked-${id}`)?.querySelector('.question')?.textContent ?? '';
  }

  pictures(id) {
    return document.querySelectorAll(`#asked-${id} > .said > .pictures img`);
  }

  last() {
    return Number([...root.querySelectorAll('[data-asked]')].at(-1)?.dataset.asked) || 0;
  }
}
