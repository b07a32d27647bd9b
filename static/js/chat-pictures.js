// Pictures for the next question: chosen, pasted or dropped; made smaller here, checked and bared of their metadata by
// the server. Offered only where the provider says that its model looks at pictures.
import { fail, form, input, provider } from './chat-composer.js';
import { send } from './wallet-http.js';
import { t } from './words.js';

const MOST = 4;
const LONGEST = 1536;
const SMALL = 1 << 20;
const LONGEST_WAY = 120000; // until a picture has gone up
const box = form.querySelector('[data-attach]');
const choose = form.querySelector('[data-choose]');
const list = box.querySelector('[data-pictures]');
const note = box.querySelector('[data-attach-note]');
const untaken = form.querySelector('[data-untaken]');
const rule = note.textContent;
const PARAMETERS = {
  temperature: t('temperature'),
  top_p: t('top p'),
  seed: t('seed'),
  stop: t('stop texts'),
  response_format: 'JSON',
  tools: t('functions'),
  tool_choice: t('which function is called'),
};
let chosen = []; // {id, path, width, height, tokens, item}; `had`: of the question that is being edited
let under = 0;

// What was chosen for the next question, and (null: nothing is being edited) what of an edited one's goes along again.
const idsOf = (pictures) => pictures.map(({ id }) => id);
export const named = (pictures = chosen) => ({
  pictures: idsOf(pictures.filter(({ had }) => !had)),
  had: form.elements.again.value ? idsOf(pictures.filter(({ had }) => had)) : null,
});
export const reading = () => under > 0;

// Hand out what was chosen for a question; `back` puts it there again when it was refused.
export function take() {
  const taken = chosen;
  chosen = [];
  list.replaceChildren();
  offer();
  return taken;
}
export function back(taken) { for (const picture of taken) show(picture); }

// The pictures of a question that is being edited, from where the page shows them.
export function had(images) {
  for (const image of images) {
    const [width, height] = [image.getAttribute('width'), image.getAttribute('height')].map(Number);
    show({ id: new URL(image.src).pathname.split('/').at(-1), path: image.src, width, height, tokens: 0, had: true });
  }
  offer();
}

let looks = !box.hidden;
// Where the model looks at no pictures, none can be added; what is there can be taken away.
function offer() {
  box.hidden = !looks && !chosen.length;
  choose.hidden = !looks;
}

function show(picture) {
  const item = document.getElementById('picture').content.firstElementChild.cloneNode(true);
  const name = picture.had ? t('Picture {width} by {height} of the first version', picture) : t('Picture {width} by {height}, about {tokens} tokens', picture);
  Object.assign(item.querySelector('img'), { src: picture.path, alt: name, title: name });
  item.querySelector('[data-remove] span').textContent = t('Remove {name}', { name });
  item.querySelector('[data-remove]').addEventListener('click', () => {
    chosen = chosen.filter(({ id }) => id !== picture.id);
    item.remove();
    if (!chosen.length) fail('');
    offer();
    input.focus();
    form.dispatchEvent(new Event('change'));
  });
  list.append(item);
  chosen.push({ ...picture, item });
}

// Large photographs are drawn smaller before they travel; what cannot be drawn goes as it is, and the server says why not.
async function smaller(file) {
  if (file.size <= SMALL) return file;
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
    const pen = canvas.getContext('2d');
    pen.fillStyle = 'white';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 });
  } catch { return file; }
}

const picturesOf = (files) => [...(files ?? [])].filter(({ type }) => type.startsWith('image/'));

async function add(files, conversation) {
  for (const file of files) {
    if (chosen.length + under >= MOST) { note.textContent = t('Up to {most} pictures in one question.', { most: MOST }); return; }
    under += 1;
    note.textContent = t('Reading the picture…');
    try {
      const body = new FormData();
      body.append('picture', await smaller(file), file.name);
      const said = await send('POST', `/playground/chat/${await conversation()}/pictures`, body, {}, AbortSignal.timeout(LONGEST_WAY));
      fail('');
      show(said);
      note.textContent = rule;
    } catch (error) {
      note.textContent = rule;
      fail(error.message);
    } finally { under -= 1; }
  }
  form.dispatchEvent(new Event('change'));
}

// What the chosen provider's model takes, by its own word.
async function ask() {
  const wanted = provider.value;
  const response = await fetch(`${form.dataset.able}?provider=${wanted}`, { credentials: 'same-origin' }).catch(() => null);
  const said = response?.ok ? await response.json() : null;
  if (!said || wanted !== provider.value) return; // not known now: what it does not take it is not sent, or refused
  looks = Boolean(said.pictures);
  offer();
  const missing = said.parameters ? Object.keys(PARAMETERS).filter((name) => !said.parameters.includes(name)) : [];
  untaken.hidden = !missing.length;
  untaken.textContent = t('By its own list this model does not take: {names}. That is not sent.', { names: missing.map((name) => PARAMETERS[name]).join(', ') });
  if (!looks && chosen.length) fail(t('This provider does not say that its model looks at pictures. Remove them, or choose another provider.'));
  form.dispatchEvent(new Event('change'));
}

export function startPictures(conversation) {
  if (!form.isConnected || !document.querySelector('[data-session]')?.dataset.session) return;
  form.addEventListener('unedit', () => {
    for (const { item } of chosen.filter((picture) => picture.had)) item.remove();
    chosen = chosen.filter((picture) => !picture.had);
    offer();
  });
  const boxes = box.querySelector('[data-had]'); // as the page shows them without a script
  boxes?.remove();
  had([...(boxes?.querySelectorAll('img') ?? [])].filter((image) => image.closest('label').querySelector('input').checked));
  const { pictures: field } = form.elements;
  const choosing = () => { add(picturesOf(field.files), conversation); field.value = ''; };
  field.addEventListener('change', choosing);
  if (field.files.length) choosing(); // before this script came
  input.addEventListener('paste', (event) => {
    const given = picturesOf(event.clipboardData.files);
    // What comes from a text program or a table is text, with a picture of itself beside it.
    if (!looks || !given.length || event.clipboardData.types.includes('text/plain')) return;
    event.preventDefault();
    add(given, conversation);
  });
  // A file that nobody takes would open in the place of the page; text that is dropped is the browser's to put in.
  const files = (event) => event.dataTransfer.types.includes('Files');
  form.addEventListener('dragover', (event) => {
    if (!files(event)) return;
    event.preventDefault();
    if (looks) form.dataset.over = '';
    else event.dataTransfer.dropEffect = 'none';
  });
  for (const name of ['dragleave', 'drop']) form.addEventListener(name, () => { delete form.dataset.over; });
  form.addEventListener('drop', (event) => {
    if (!files(event)) return;
    event.preventDefault();
    const given = picturesOf(event.dataTransfer.files);
    if (looks && given.length) add(given, conversation);
    else if (looks) fail(t('What was dropped is no picture.'));
  });
  provider.addEventListener('change', ask);
  ask();
}
