// The form of a listing: fields that write the JSON beside them, and the JSON that fills the fields. What is published
// is the text; keys that no field knows stay where they are.
import { t } from './words.js';
const area = document.querySelector('[data-info]');

// Errors come below their field as one types; the field itself has to say that it is wrong, too.
document.addEventListener('htmx:afterSettle', () => {
  for (const input of document.querySelectorAll('[data-listing] [aria-describedby^="note-"]')) {
    const wrong = document.getElementById(input.getAttribute('aria-describedby'))?.querySelector('[data-error]');
    if (wrong) input.setAttribute('aria-invalid', 'true');
    else input.removeAttribute('aria-invalid');
  }
});

// A number that reading would change leaves the text to whoever wrote it.
function exact(_, value) {
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new RangeError(value);
  return value;
}

function parsed() {
  if (!area.value.trim()) return {};
  try {
    const value = JSON.parse(area.value, exact);
    return value && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch { return null; }
}

const get = (object, path) => path.split('.').reduce((at, key) => (at && typeof at === 'object' ? at[key] : undefined), object);

function set(object, path, value) {
  const [key, ...rest] = path.split('.');
  if (!rest.length) {
    if (value === undefined) delete object[key];
    else object[key] = value;
    return;
  }
  const inner = object[key] && typeof object[key] === 'object' && !Array.isArray(object[key]) ? object[key] : {};
  set(inner, rest.join('.'), value);
  if (Object.keys(inner).length) object[key] = inner;
  else delete object[key];
}

function valueOf(field) {
  if (field.type === 'checkbox') return field.checked ? true : undefined;
  const text = field.value.trim();
  if (!text) return undefined;
  return field.dataset.shape === 'number' && /^\d{1,9}$/.test(text) ? Number(text) : text;
}

if (area) {
  const box = document.querySelector('[data-info-fields]');
  const size = document.querySelector('[data-info-size]');
  const fields = [...box.querySelectorAll('[data-key]')];
  const count = () => {
    const bytes = new TextEncoder().encode(area.value).length;
    size.textContent = t('{bytes} of 4,096 bytes', { bytes: bytes.toLocaleString('en') });
    size.hidden = bytes < 2048;
  };
  const fill = () => {
    const object = parsed();
    // What cannot be read cannot be written into without losing it.
    box.disabled = object === null;
    for (const field of fields) {
      const value = object && get(object, field.dataset.key);
      if (field.type === 'checkbox') field.checked = value === true;
      else if (field.tagName === 'SELECT' && value && ![...field.options].some((one) => one.value === value)) {
        field.add(new Option(String(value), String(value), true, true));
      } else field.value = value === undefined || value === null ? '' : String(value);
    }
    count();
  };
  const write = (event) => {
    if (!event.target.matches('[data-key]')) return;
    event.stopPropagation(); // the form sends the text, and it follows below
    const object = parsed();
    if (!object) return;
    set(object, event.target.dataset.key, valueOf(event.target));
    area.value = JSON.stringify(object, null, area.value.includes('\n') ? 2 : 0);
    count();
    area.dispatchEvent(new Event('input', { bubbles: true }));
  };
  box.addEventListener('input', write);
  box.addEventListener('change', (event) => event.stopPropagation());
  area.addEventListener('input', (event) => { if (event.isTrusted) fill(); });
  box.hidden = false;
  fill();
}
