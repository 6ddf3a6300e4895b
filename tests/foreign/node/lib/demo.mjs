// The demo as its facts file describes it, and the EPJ that belongs to it.
import { readFileSync } from 'node:fs';
import { Browser } from './browser.mjs';

const [path, more] = process.argv.slice(2);
if (!path) throw new Error(`usage: node ${process.argv[1]} FACTS.json [MORE-CLIENTS.json]`);
const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
export const facts = read(path);
Object.assign(facts.clients, more ? read(more) : {});

export const [first, second] = facts.patients;

export const basic = ({ client_id, client_secret }) => `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`;

async function epjToken() {
  const response = await fetch(`${facts.issuer}/token`, {
    method: 'POST',
    headers: { authorization: basic(facts.clients.epj) },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'launch:create' }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`no token for the EPJ: ${response.status} ${JSON.stringify(answer)}`);
  return answer.access_token;
}

/** What `POST /launches` answers, whatever it answers. */
export async function askForLaunch(client_id, context) {
  const response = await fetch(`${facts.issuer}/launches`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await epjToken()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ client_id, ...context }),
  });
  return { status: response.status, body: await response.json() };
}

/** The doctor's click: the app's launch URL as the browser reaches it, with `iss` and `launch`. */
export async function launch(client_id, context = first, browser = new Browser()) {
  const { status, body } = await askForLaunch(client_id, context);
  if (status !== 201) throw new Error(`POST /launches → ${status} ${JSON.stringify(body)}`);
  const at = await browser.goUntil(body.start_url, [body.launch_url]);
  return { browser, url: at, iss: at.searchParams.get('iss'), launch: at.searchParams.get('launch') };
}

export const redirectUri = (client_id) => facts.clients[client_id].redirect_uris[0];

export async function introspect(token) {
  const response = await fetch(`${facts.issuer}/introspect`, {
    method: 'POST',
    headers: { authorization: basic(facts.clients['fhir-server']) },
    body: new URLSearchParams({ token }),
  });
  return response.json();
}

export async function fhir(pathAndQuery, accessToken, init = {}) {
  const headers = { authorization: `Bearer ${accessToken}`, accept: 'application/fhir+json,application/json', ...init.headers };
  const response = await fetch(`${facts.fhir}/${pathAndQuery}`, { ...init, headers });
  const body = await response.text();
  return { status: response.status, headers: response.headers, body: body ? JSON.parse(body) : undefined };
}
