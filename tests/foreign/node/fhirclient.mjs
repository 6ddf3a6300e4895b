// npm fhirclient as an app's server uses it: smart(request, response).authorize() at the launch URL, .ready() at the callback.
import assert from 'node:assert/strict';
import test from 'node:test';
import smart from 'fhirclient';
import { Browser } from './lib/browser.mjs';
import { facts, first, launch, redirectUri, second } from './lib/demo.mjs';

const [sykInn, growthChart] = ['syk-inn', 'growth-chart'].map((id) => facts.clients[id]);

/** The app's server: a session, and requests as Node hands them over. */
class App {
  session = {};

  #request(url) {
    return { headers: { host: url.host }, url: url.pathname + url.search, socket: {}, session: this.session };
  }

  /** GET at the launch URL; returns where the browser is sent. */
  async authorize(url, options) {
    let location;
    const response = { writeHead: (_, headers) => (location = headers.location), end: () => {} };
    await smart(this.#request(url), response).authorize(options);
    return location;
  }

  /** GET at the callback. */
  ready(url) {
    return smart(this.#request(url), {}).ready();
  }
}

async function open({ client_id, client_secret, private_jwk }, scope, { context = first, browser = new Browser(), standalone = false } = {}) {
  const app = new App();
  const options = { clientId: client_id, clientSecret: client_secret, clientPrivateJwk: private_jwk, scope, redirectUri: redirectUri(client_id), iss: facts.fhir };
  const at = standalone ? new URL(redirectUri(client_id)) : (await launch(client_id, context, browser)).url;
  const callback = await browser.goUntil(await app.authorize(at, options), [redirectUri(client_id)]);
  return { app, browser, callback, client: await app.ready(callback) };
}

async function reads(client, { patient, fhir_user }) {
  assert.equal(client.patient.id, patient);
  assert.equal((await client.patient.read()).id, patient);
  assert.equal(client.user.fhirUser, fhir_user);
  assert.equal((await client.user.read()).id, fhir_user.split('/')[1]);
  const conditions = await client.request(`Condition?patient=${client.patient.id}`, { flat: true });
  assert.ok(conditions.length > 0);
  for (const condition of conditions) assert.equal(condition.subject.reference, `Patient/${patient}`);
}

const NAV = 'openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read';
const CHART = 'launch openid fhirUser offline_access patient/*.rs';

await test('syk-inn, EHR launch, Basic without client_id in the body', async () => {
  const { app, callback, client } = await open(sykInn, NAV);
  await reads(client, first);
  assert.equal(client.encounter.id, first.encounter);
  assert.equal((await client.encounter.read()).id, first.encounter);
  const before = client.state.tokenResponse.access_token;
  await client.refresh();
  assert.notEqual(client.state.tokenResponse.access_token, before);
  assert.ok(client.state.tokenResponse.refresh_token, 'kept or replaced');
  await reads(client, first);
  assert.equal((await app.ready(callback)).patient.id, first.patient, 'a reload of the callback finds its session');
});

for (const id of ['extra-es384', 'extra-rs384']) {
  await test(`${id}, EHR launch, an assertion without client_id in the body`, async () => {
    const { client } = await open(facts.clients[id], NAV);
    await reads(client, first);
  });
}

await test('growth-chart, EHR launch, public with PKCE', async () => {
  const { client } = await open(growthChart, CHART);
  assert.ok(client.state.codeVerifier, 'the library saw S256 in discovery');
  await reads(client, first);
  assert.equal((await client.request(`Encounter/${first.encounter}`)).id, first.encounter);
});

await test('growth-chart refreshes without client_id, time and again, each time with the successor', async () => {
  const { client } = await open(growthChart, CHART);
  const seen = new Set([client.state.tokenResponse.refresh_token]);
  for (let turn = 0; turn < 3; turn++) {
    await client.refresh();
    seen.add(client.state.tokenResponse.refresh_token);
    await reads(client, first);
  }
  assert.equal(seen.size, 4, 'a public client rotates');
});

await test('growth-chart, standalone: the pages lead to a patient', async () => {
  const { browser, client } = await open(growthChart, `launch/patient ${CHART.replace('launch ', '')}`, { standalone: true });
  assert.ok(client.patient.id, `no patient after ${browser.trail}`);
  assert.equal((await client.patient.read()).id, client.patient.id);
  assert.match(client.user.fhirUser, /^Practitioner\//);
  assert.equal((await client.user.read()).resourceType, 'Practitioner');
  await client.refresh();
  assert.equal((await client.patient.read()).id, client.patient.id);
});

await test('two patients in two tabs of one browser stay apart', async () => {
  const browser = new Browser();
  const [one, two] = [await open(growthChart, CHART, { browser }), await open(growthChart, CHART, { browser, context: second })];
  await reads(two.client, second);
  await reads(one.client, first);
  await assert.rejects(one.client.request(`Patient/${second.patient}`), (error) => [403, 404].includes(error.status ?? error.statusCode));
});

await test('paging follows the links the server gives', async () => {
  const { client } = await open(growthChart, CHART);
  const all = await client.request(`Condition?patient=${first.patient}`, { flat: true, pageLimit: 0 });
  const paged = await client.request(`Condition?patient=${first.patient}&_count=1`, { flat: true, pageLimit: 0 });
  assert.deepEqual(paged.map(({ id }) => id).sort(), all.map(({ id }) => id).sort());
});

await test('references are resolved by the library', async () => {
  const { client } = await open(growthChart, CHART);
  const encounter = await client.request(`Encounter/${first.encounter}`, { resolveReferences: 'subject', graph: true });
  assert.equal(encounter.subject.id, first.patient);
});

await test('an error at the authorization endpoint reaches ready()', async () => {
  const app = new App();
  const options = { clientId: 'growth-chart', scope: 'not-a-scope', redirectUri: redirectUri('growth-chart'), iss: facts.fhir };
  const at = await app.authorize(new URL(redirectUri('growth-chart')), options);
  const callback = await new Browser().goUntil(at, [redirectUri('growth-chart')]);
  await assert.rejects(app.ready(callback), /invalid_scope/);
});
