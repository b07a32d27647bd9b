// A secret that is shown once: the page lets go of it only when the person says that it is stored.
import { t } from './words.js';
const make = (tag, text = '', name = '') => Object.assign(document.createElement(tag), { textContent: text, className: name });

export function reveal({ title, note, secret, testid }) {
  const dialog = make('dialog', '', 'dialog');
  const head = make('header');
  head.setAttribute('role', 'none');
  const heading = make('h2', title);
  heading.id = 'secret-once-title';
  dialog.setAttribute('aria-labelledby', heading.id);
  head.append(heading);
  const body = make('div');
  const shown = make('pre', secret, 'message');
  shown.tabIndex = 0;
  shown.dataset.testid = `${testid}-secret`;
  shown.setAttribute('aria-label', title);
  body.append(make('p', note), shown);
  const foot = make('footer');
  foot.setAttribute('role', 'none');
  const copy = make('button', t('Copy'), 'button');
  copy.dataset.copy = secret;
  const stored = make('button', t('I have stored it'), 'button primary');
  stored.dataset.testid = `${testid}-stored`;
  foot.append(copy, stored);
  dialog.append(head, body, foot);
  document.body.append(dialog);
  dialog.addEventListener('cancel', (event) => event.preventDefault()); // Esc must not lose it
  copy.addEventListener('click', () => { copy.textContent = t('Copied'); });
  stored.addEventListener('click', () => { dialog.remove(); location.reload(); });
  dialog.showModal();
}
