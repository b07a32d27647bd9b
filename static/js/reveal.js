// A secret that is shown once: the page lets go of it only when the person says that it is stored.
import { make, openDialog } from './dialog.js';
import { t } from './words.js';

export function reveal({ title, note, secret, testid }) {
  const shown = make('pre', secret, 'message');
  shown.tabIndex = 0;
  shown.dataset.testid = `${testid}-secret`;
  shown.setAttribute('aria-label', title);
  const copy = make('button', '', 'button');
  copy.dataset.copy = secret;
  const label = make('span', t('Copy'));
  label.dataset.copyLabel = ''; // says "Copied" once it is true
  copy.append(label);
  const stored = make('button', t('I have stored it'), 'button primary');
  stored.dataset.testid = `${testid}-stored`;
  const { dialog, end } = openDialog(title, [make('p', note), shown], [copy, stored]);
  // Neither Esc nor a closed tab must lose it.
  const stay = (event) => event.preventDefault();
  dialog.addEventListener('cancel', stay);
  dialog.addEventListener('close', () => { if (dialog.isConnected) dialog.showModal(); }); // a second Esc asks nobody
  addEventListener('beforeunload', stay);
  stored.addEventListener('click', () => {
    removeEventListener('beforeunload', stay);
    end();
    location.reload();
  });
}
