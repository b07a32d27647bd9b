// Requests to our server, with the CSRF token; a refusal becomes an Error with its code and sentences.
import { t } from './words.js';
const csrf = () => document.getElementById('wallet').dataset.csrf;

export class Refusal extends Error {
  constructor(problem, status) {
    const said = [problem.title, problem.fix].filter(Boolean).join(' ');
    super(said || (status === 413 ? t('This is larger than the server takes.')
      : status >= 500 || status === 429 ? t('This site does not answer just now ({status}). Try again in a minute.', { status })
        : t('The server answered {status}.', { status })));
    Object.assign(this, { refusal: true, reason: problem.code ?? '', status, problem });
  }
}

async function asked(url, { headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: 'same-origin', headers: { Accept: 'application/json', ...headers }, ...options });
  } catch {
    throw new Refusal({ code: 'offline', title: t('This page cannot reach the server.'), fix: t('Check your connection and try again.') }, 0);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(answer, response.status);
  return answer;
}

export const get = (url) => asked(url);
export const send = (method, url, body, headers = {}, signal = null) => asked(url, { method, body, signal, headers: { 'X-CSRFToken': csrf(), ...headers } });
export const post = (url, body = {}) => (body instanceof FormData
  ? send('POST', url, body)
  : send('POST', url, JSON.stringify(body), { 'Content-Type': 'application/json' }));

// A part of a page; nothing where none came, or the line broke in the middle of it.
export async function markup(url, headers = {}) {
  const response = await fetch(url, { headers, credentials: 'same-origin' }).catch(() => null);
  return response?.ok ? response.text().catch(() => '') : '';
}

export const toHex = (text) => '0x' + [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
