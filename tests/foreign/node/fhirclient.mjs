// npm fhirclient as an app's server uses it: smart(request, response).authorize() at the launch URL, .ready() at the callback.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'node:test';
import smart from 'fhirclient';
import { Browser } from './lib/browser.mjs';
import { facts, first, launch, redirectUri, second } from './lib/demo.mjs';

const [sykInn, growthChart, validator] = ['syk-inn', 'growth-chart', 'nav-validator'].map((id) => facts.clients[id]);

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

await test('pages come one after another, each once, and the last says so', async () => {
  const { client } = await open(growthChart, CHART);
  const pages = [];
  const onPage = (bundle) => pages.push(bundle);
  await client.request('Observation?_count=2&_sort=-date', { pageLimit: 0, onPage });
  const ids = pages.flatMap(({ entry }) => entry.map(({ resource }) => resource.id));
  assert.ok(pages.length > 1);
  assert.deepEqual([new Set(ids).size, ids.length], [pages[0].total, pages[0].total]);
  const relations = pages.map(({ link }) => link.map(({ relation }) => relation));
  assert.ok(relations.slice(0, -1).every((names) => names.includes('next')) && !relations.at(-1).includes('next'));
  assert.ok(pages.flatMap(({ link }) => link).every(({ url }) => url.startsWith(`${facts.fhir}/`)), 'links stay on the base');
  const two = await client.request('Observation?_count=2&_sort=-date', { flat: true, pageLimit: 2 });
  assert.deepEqual(two.map(({ id }) => id), ids.slice(0, 4));
});

await test('a search by POST finds what the same by GET does', async () => {
  const { client } = await open(growthChart, CHART);
  const form = new URLSearchParams({ patient: first.patient, encounter: first.encounter });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const posted = await client.request({ url: 'Condition/_search', method: 'POST', body: form.toString(), headers }, { flat: true });
  const got = await client.request(`Condition?${form}`, { flat: true });
  assert.ok(got.length > 0);
  assert.deepEqual(posted, got);
});

const WRITES = 'openid launch fhirUser patient/*.*';
const system = 'https://app.example/maaling';
const observation = (patient, value = 70) => ({
  resourceType: 'Observation',
  status: 'preliminary',
  code: { text: 'vekt' },
  subject: { reference: `Patient/${patient}` },
  identifier: [{ system, value: randomUUID() }],
  valueQuantity: { value, unit: 'kg' },
});
/** Why the library rejected: the status, and the code of the OperationOutcome it shows below its own words. */
async function refusal(promise) {
  const error = await promise.then(() => assert.fail('it was not refused'), (error) => error);
  assert.ok(error.response, String(error));
  const outcome = JSON.parse(error.message.slice(error.message.indexOf('\n\n')));
  assert.equal(outcome.resourceType, 'OperationOutcome');
  return `${error.status} ${outcome.issue[0].code}`;
}

await test('a resource is created, read, updated where nobody else did, and deleted', async () => {
  const { client } = await open(validator, WRITES);
  const { body: made, response } = await client.create(observation(first.patient), { includeResponse: true });
  assert.equal(response.status, 201);
  assert.equal(response.headers.get('location'), `${facts.fhir}/Observation/${made.id}/_history/1`);
  assert.deepEqual(await client.request(`Observation/${made.id}`), made);
  const heavier = { ...made, valueQuantity: { ...made.valueQuantity, value: 71 } };
  const updated = await client.update(heavier, { headers: { 'if-match': response.headers.get('etag') } });
  assert.deepEqual([updated.meta.versionId, updated.valueQuantity.value], ['2', 71]);
  assert.equal(await refusal(client.update(heavier, { headers: { 'if-match': response.headers.get('etag') } })), '412 conflict');
  const versions = await client.request(`Observation/${made.id}/_history`, { flat: true });
  assert.deepEqual(versions.map(({ meta }) => meta.versionId), ['2', '1']);
  await client.delete(`Observation/${made.id}`);
  assert.equal(await refusal(client.request(`Observation/${made.id}`)), '410 deleted');
});

await test('what is there already is not created again', async () => {
  const { client } = await open(validator, WRITES);
  const body = observation(first.patient);
  const condition = { headers: { 'if-none-exist': `identifier=${system}|${body.identifier[0].value}` }, includeResponse: true };
  const [one, two] = [await client.create(body, condition), await client.create({ ...body, status: 'final' }, condition)];
  assert.deepEqual([one.response.status, two.response.status, two.body], [201, 200, one.body]);
  await client.create(body);
  assert.equal(await refusal(client.create(body, condition)), '412 multiple-matches');
});

await test('writes go as far as scopes and launch do', async () => {
  const { client } = await open(validator, 'openid launch fhirUser patient/Observation.crus patient/Condition.rs');
  const made = await client.create(observation(first.patient));
  assert.equal(await refusal(client.delete(`Observation/${made.id}`)), '403 forbidden');
  assert.equal(await refusal(client.create(observation(second.patient))), '403 forbidden');
  const condition = { resourceType: 'Condition', subject: { reference: `Patient/${first.patient}` }, code: { text: 'x' } };
  assert.equal(await refusal(client.create(condition)), '403 forbidden');
  assert.equal((await client.request(`Observation/${made.id}`)).meta.versionId, '1');
});

await test('the sykmelding app writes its document by a library as well', async () => {
  const { client } = await open(sykInn, `${NAV} patient/DocumentReference.read patient/DocumentReference.write`);
  const id = randomUUID();
  assert.equal(await refusal(client.request(`DocumentReference/${id}`)), '404 not-found');
  const attachment = { title: 'Sykmelding', language: 'NO-nb', contentType: 'application/pdf', data: 'JVBERi0xLjQK' };
  const type = { coding: [{ system: 'urn:oid:2.16.578.1.12.4.1.1.9602', code: 'J01-2', display: 'Sykmeldinger og trygdesaker' }] };
  const [subject, author] = [{ reference: `Patient/${first.patient}` }, [{ reference: first.fhir_user }]];
  const context = { encounter: [{ reference: `Encounter/${first.encounter}` }] };
  const document = { resourceType: 'DocumentReference', id, status: 'current', type, subject, author, content: [{ attachment }], context };
  for (const versionId of ['1', '2']) {
    const stored = await client.update(document);
    assert.deepEqual([stored.id, stored.meta.versionId, stored.content], [id, versionId, document.content]);
  }
  const { context: _, ...nowhere } = document;
  assert.equal(await refusal(client.update(nowhere)), '422 required');
});

await test('a patch is refused, and the library shows why', async () => {
  const { client } = await open(validator, WRITES);
  assert.equal(await refusal(client.patch(`Patient/${first.patient}`, [{ op: 'replace', path: '/active', value: false }])), '405 not-supported');
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
