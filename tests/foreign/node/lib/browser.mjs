// A browser as plain as one can be: cookies, redirects, and the first button of the first form. It stops where the app's own pages begin.

const HOPS = 20;

/** Cookies by origin. RFC 6265, as far as one host on several ports needs it: a name, a path, and whether it still lives. */
class Jar {
  #cookies = new Map();

  keep(url, response) {
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';').map((part) => part.trim());
      const [name, ...value] = pair.split('=');
      const attribute = (wanted) => attributes.find((part) => part.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
      const path = attribute('path') ?? '/';
      // Loopback ports share cookies in a real browser, so the port is no part of the key.
      const key = `${url.hostname} ${path} ${name}`;
      const dead = attribute('max-age') === '0' || (attribute('expires') && Date.parse(attribute('expires')) <= Date.now());
      if (dead) this.#cookies.delete(key);
      else this.#cookies.set(key, { host: url.hostname, path, pair: `${name}=${value.join('=')}` });
    }
  }

  for(url) {
    const fits = (path) => url.pathname === path || url.pathname.startsWith(path.endsWith('/') ? path : `${path}/`);
    return [...this.#cookies.values()].filter((cookie) => cookie.host === url.hostname && fits(cookie.path)).map((cookie) => cookie.pair).join('; ');
  }
}

const unescape = (text) =>
  text.replace(/&(#x[0-9a-f]+|#\d+|amp|lt|gt|quot|apos);/gi, (_, name) => {
    if (/^#x/i.test(name)) return String.fromCodePoint(parseInt(name.slice(2), 16));
    if (name.startsWith('#')) return String.fromCodePoint(Number(name.slice(1)));
    return { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }[name.toLowerCase()];
  });

function attributes(tag) {
  const found = {};
  for (const [, name, quoted] of tag.slice(tag.indexOf(' ')).matchAll(/([a-z-]+)(?:="([^"]*)")?/gi)) found[name.toLowerCase()] = unescape(quoted ?? '');
  return found;
}

/** What pressing the first button of the first form sends: hidden fields, what is typed beforehand, ticked boxes, the button itself. */
export function firstForm(html, at) {
  const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(html);
  if (!form) throw new Error(`${at} has no form:\n${html.replace(/<style[\s\S]*?<\/style>|<[^>]+>/g, ' ').replace(/\s+/g, ' ').slice(0, 600)}`);
  const { action, method } = attributes(`<form ${form[1]}`);
  const fields = new URLSearchParams();
  for (const [tag] of form[2].matchAll(/<input\b[^>]*>/gi)) {
    const { name, type = 'text', value, checked } = attributes(tag);
    const sent = !['radio', 'checkbox'].includes(type) || checked !== undefined;
    if (name && sent && type !== 'submit') fields.append(name, value ?? (type === 'checkbox' ? 'on' : ''));
  }
  const button = /<button\b[^>]*>/i.exec(form[2]);
  if (!button) throw new Error(`${at}: the first form has no button`);
  const { name, value } = attributes(button[0]);
  if (name) fields.append(name, value ?? '');
  return { url: new URL(action ?? '', at), method: (method ?? 'get').toUpperCase(), fields };
}

export class Browser {
  #jar = new Jar();
  /** The status and address of every response, newest last. */
  trail = [];

  /** Opens `start` and moves forward until an address under one of `until` is reached; that one is returned, not requested. */
  async goUntil(start, until) {
    let ask = { url: new URL(start), method: 'GET' };
    for (let hop = 0; hop < HOPS; hop++) {
      if (until.some((prefix) => ask.url.href.startsWith(prefix))) return ask.url;
      const response = await this.#send(ask);
      const { location } = Object.fromEntries(response.headers);
      if (response.status >= 300 && response.status < 400 && location) {
        const keeps = [307, 308].includes(response.status);
        ask = { ...(keeps ? ask : { method: 'GET' }), url: new URL(location, ask.url) };
        continue;
      }
      const html = await response.text();
      if (!response.ok) throw new Error(`${ask.method} ${ask.url.pathname} → ${response.status}\n${text(html)}`);
      ask = firstForm(html, ask.url);
    }
    throw new Error(`still on the way after ${HOPS} hops: ${this.trail.join(', ')}`);
  }

  /** One request without moving on, for refusals that are pages. */
  async look(url) {
    return this.#send({ url: new URL(url), method: 'GET' });
  }

  async #send({ url, method, fields }) {
    const headers = { accept: 'text/html', 'accept-language': 'nb' };
    const cookie = this.#jar.for(url);
    if (cookie) headers.cookie = cookie;
    if (method === 'POST') headers.origin = url.origin;
    const response = await fetch(url, { method, headers, redirect: 'manual', body: method === 'POST' ? fields : undefined });
    this.#jar.keep(url, response);
    this.trail.push(`${response.status} ${url.pathname}`);
    return response;
  }
}

export const text = (html) => html.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ').trim().slice(0, 600);
