// Requests to our own server: JSON (or a form as it is) with the CSRF token; a refusal becomes an Error with its code and sentences.
import { t } from './words.js';
const csrf = () => document.getElementById('wallet').dataset.csrf;

export class Refusal extends Error {
  constructor(problem, status) {
    super([problem.title, problem.fix].filter(Boolean).join(' ') || t('The server answered {status}.', { status }));
    Object.assign(this, { refusal: true, reason: problem.code ?? '', status, problem });
  }
}

export async function post(url, body = {}) {
  const form = body instanceof FormData;
  let response;
  try {
    response = await fetch(url, {
      method: 'POST',
      credentials: 'same-origin',
      headers: { ...(form ? {} : { 'Content-Type': 'application/json' }), Accept: 'application/json', 'X-CSRFToken': csrf() },
      body: form ? body : JSON.stringify(body),
    });
  } catch {
    throw new Refusal({ code: 'offline', title: t('This page cannot reach the server.'), fix: t('Check your connection and try again.') }, 0);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(answer, response.status);
  return answer;
}

export const toHex = (text) => '0x' + [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
