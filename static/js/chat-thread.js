// The turns on the page: text is only ever appended while it streams, then replaced by the server's finished fragment.
const WATCH_EVERY = 4000;
const NEAR_BOTTOM = 160;

const root = document.getElementById('turns');
const below = document.querySelector('[data-below]');
const composer = document.getElementById('composer');
// How far the end of the conversation lies below the window; on a narrow one more of the page follows it.
const hidden = () => root.parentElement.getBoundingClientRect().bottom + (parseFloat(getComputedStyle(composer).bottom) || 0) - innerHeight;
const bottom = () => hidden() < NEAR_BOTTOM;
const toBottom = () => scrollBy({ top: Math.max(0, hidden()), behavior: 'instant' });

export class Thread {
  constructor() {
    this.turns = new Map(); // turn id → {element, text, seq, work}
    for (const element of root.querySelectorAll('[data-turn]')) this.adopt(Number(element.dataset.turn), element);
    below?.addEventListener('click', () => { toBottom(); below.hidden = true; });
    addEventListener('scroll', () => { if (bottom()) below.hidden = true; }, { passive: true });
  }

  adopt(id, element) {
    const turn = { element, seq: 0, text: null, work: Promise.resolve() };
    this.turns.set(id, turn);
    element.id = `turn-${id}`;
    element.dataset.turn = id;
    if ('watched' in element.dataset) setTimeout(() => this.refresh(id), WATCH_EVERY);
    return turn;
  }

  // A question that is on its way; the server's number follows with `adopt`.
  begin(question) {
    document.getElementById('nothing-yet')?.remove();
    const element = document.getElementById('new-turn').content.firstElementChild.cloneNode(true);
    element.querySelector('[data-question]').textContent = question;
    root.append(element);
    toBottom();
    return element;
  }

  // Turns that are still being written, and the last number we have of each.
  open() {
    return [...this.turns].filter(([, turn]) => turn.element.dataset.state === 'open').map(([id, turn]) => [id, turn.seq]);
  }

  delta(id, seq, text) {
    const turn = this.turns.get(id);
    if (!turn || seq <= turn.seq) return;
    turn.seq = seq;
    const follow = bottom();
    if (!turn.text) {
      turn.text = document.createTextNode('');
      turn.element.querySelector('[data-text]')?.append(turn.text);
      turn.element.querySelector('[data-waiting]')?.remove();
    }
    turn.text.appendData(text);
    if (follow) toBottom(); else below.hidden = false;
  }

  thinking(id) {
    const waiting = this.turns.get(id)?.element.querySelector('[data-waiting]');
    if (waiting) waiting.textContent = 'Thinking';
  }

  // Replace the turn by what the server stored. One at a time, so that an older answer never wins.
  refresh(id) {
    const turn = this.turns.get(id);
    if (!turn) return Promise.resolve();
    turn.work = turn.work.then(async () => {
      const response = await fetch(`/playground/chat/turns/${id}`, { credentials: 'same-origin' });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const fresh = document.createRange().createContextualFragment(await response.text()).querySelector('[data-turn]');
      const follow = bottom();
      turn.element.replaceWith(fresh);
      turn.element = fresh;
      window.htmx?.process(fresh);
      if (follow) toBottom();
      if ('watched' in fresh.dataset) setTimeout(() => this.refresh(id), WATCH_EVERY);
    }).catch(() => { setTimeout(() => this.refresh(id), WATCH_EVERY); });
    return turn.work;
  }

  lastQuestion() {
    return [...root.querySelectorAll('.question')].at(-1)?.textContent ?? '';
  }
}
