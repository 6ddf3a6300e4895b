// NAV's acceptance scenarios: what the sykmelding app needs from an EPJ's authorization server, each on a launch of its own.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'node:test';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { Browser } from './lib/browser.mjs';
import { askForLaunch, basic, facts, fhir, first, introspect, launch, second } from './lib/demo.mjs';
import { NAV_SCOPE, NavApp, discover } from './lib/nav-app.mjs';

const app = () => new NavApp(facts.clients['syk-inn']);
const ops = (path, init) => fetch(`${facts.ops}${path}`, { ...init, headers: { authorization: `Bearer ${facts.ops_token}`, ...init?.headers } });
/** Moves the whole demo to so many seconds after the machine's time. */
const setClock = (offset_s) => ops('/test/clock', { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ offset_s }) });
const refused = (status) => [403, 404].includes(status);

await test('1: a launch with an open encounter gives the five members, and every page loads', async () => {
  const nav = app();
  const tokens = await nav.open();
  assert.equal(tokens.patient, first.patient);
  assert.equal(tokens.encounter, first.encounter);
  assert.equal(tokens.fhirUser, first.fhir_user, 'relative');
  assert.equal(tokens.token_type, 'Bearer');
  assert.equal(tokens.expires_in, 3600);
  assert.equal(tokens.practitioner, undefined, 'NAV-037');
  assert.equal(tokens.scope, NAV_SCOPE, 'as asked for, in v1 spelling');
  assert.match(tokens.code, /^[A-Za-z0-9._~-]+$/, 'NAV-031');
  assert.match(tokens.headers.get('cache-control'), /no-store/);
  const { payload, protectedHeader } = await nav.verify(tokens.access_token);
  assert.ok(protectedHeader.kid);
  assert.equal(payload.exp - payload.iat, 3600);
  assert.equal(payload.nbf, undefined);
  const id = decodeJwt(tokens.id_token);
  assert.deepEqual([id.iss, id.aud], [facts.issuer, 'syk-inn']);
  const pages = await nav.pages(tokens);
  assert.equal(pages.patient.id, first.patient);
  assert.ok(pages.practitioner.identifier.some(({ system }) => system === 'urn:oid:2.16.578.1.12.4.1.4.4'), 'HPR');
  assert.ok(pages.organization.telecom.some(({ system, value }) => system === 'phone' && value));
  assert.ok(pages.conditions.entry.every(({ resource }) => resource.resourceType === 'Condition'));
  for (const { resource } of pages.conditions.entry) for (const coding of resource.code.coding) assert.ok(coding.system && coding.code && coding.display);
});

await test('1: discovery holds what the app and the validators look at', async () => {
  const found = await (await fetch(`${facts.fhir}/.well-known/smart-configuration`)).json();
  assert.ok(found.grant_types_supported.includes('refresh_token'));
  assert.ok(['client_secret_basic', 'client_secret_post', 'private_key_jwt'].some((name) => found.token_endpoint_auth_methods_supported.includes(name)));
  assert.ok(found.code_challenge_methods_supported.includes('S256') && !found.code_challenge_methods_supported.includes('plain'));
  for (const name of ['scopes_supported', 'response_types_supported', 'introspection_endpoint', 'revocation_endpoint', 'capabilities']) assert.ok(found[name]?.length, name);
  assert.ok(!new URL(found.authorization_endpoint).search);
  const { keys } = await (await fetch(found.jwks_uri)).json();
  for (const key of keys) assert.ok(key.kid && key.alg && key.use === 'sig' && !key.d, 'NAV-040');
});

await test('2: without an encounter no launch is made, and nothing reaches the app', async () => {
  const { status, body } = await askForLaunch('syk-inn', { patient: first.patient, fhir_user: first.fhir_user });
  assert.equal(status, 422);
  assert.equal(body.member, 'encounter');
});

await test('2: a request without a launch asks for both on the pages; never a token response without an encounter', async () => {
  const nav = app();
  const begun = await nav.begin({ iss: facts.fhir });
  const back = await new Browser().goUntil(begun.url, [nav.redirect_uri]);
  // An error would do as well; what must not come is a token without an encounter, and callback() looks for that.
  const outcome = await nav.callback(back, begun).catch(({ error }) => ({ error }));
  assert.ok(outcome.encounter || outcome.error, JSON.stringify(outcome));
});

const formEncoded = (part) => new URLSearchParams({ '': part }).toString().slice(1);
/** RFC 6749 §2.3.1 at its widest, as openid-client does it: whatever is neither letter nor digit. */
const everything = (part) => encodeURIComponent(part).replace(/[-_.!~*'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
const readings = {
  'as it is': (id, secret) => `${id}:${secret}`,
  'percent-encoded': (id, secret) => `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`,
  'form-urlencoded': (id, secret) => `${formEncoded(id)}:${formEncoded(secret)}`,
  'encoded whole': (id, secret) => `${everything(id)}:${everything(secret)}`,
};
for (const id of ['extra-odd', 'extra-plain']) {
  for (const [name, reading] of Object.entries(readings)) {
    await test(`3: Basic for ${id}, ${name}`, async () => {
      const nav = new NavApp(facts.clients[id], reading);
      const tokens = await nav.open();
      assert.equal(tokens.patient, first.patient);
      assert.equal((await nav.refresh(tokens.refresh_token)).status, 200);
    });
  }
}

await test('3: another secret in the same clothes is refused, with a challenge', async () => {
  const { client_secret, ...odd } = facts.clients['extra-odd'];
  const nav = new NavApp({ ...odd, client_secret: client_secret.replace('+', ' ') });
  nav.found = await discover(facts.fhir);
  const { status, body, headers } = await nav.refresh('whatever');
  assert.deepEqual([status, body.error], [401, 'invalid_client']);
  assert.match(headers.get('www-authenticate'), /^Basic/);
  assert.match(headers.get('cache-control'), /no-store/);
});

await test('another client_id in the body than in Basic is refused', async () => {
  const { token_endpoint } = await discover(facts.fhir);
  const response = await fetch(token_endpoint, {
    method: 'POST',
    headers: { authorization: basic(facts.clients['syk-inn']) },
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: 'whatever', client_id: 'extra-odd' }),
  });
  assert.deepEqual([response.status, (await response.json()).error], [401, 'invalid_client']);
});

for (const id of ['extra-post', 'extra-es384', 'extra-rs384']) {
  await test(`the alternatives to Basic: ${id}`, async () => {
    const nav = new NavApp(facts.clients[id]);
    const tokens = await nav.open();
    assert.equal(tokens.encounter, first.encounter);
    assert.equal((await nav.refresh(tokens.refresh_token)).status, 200);
    await nav.pages(tokens);
  });
}

await test('4: iss and aud with a trailing slash', async () => {
  const nav = app();
  const tokens = await nav.open(first, { slash: '/' });
  await nav.pages(tokens);
  assert.equal(decodeJwt(tokens.access_token).aud, facts.fhir, 'the base itself');
});

await test('5: scopes beyond what the server gives are left out, and the launch goes on', async () => {
  const extra = ['patient/QuestionnaireResponse.read', 'patient/QuestionnaireResponse.write', 'https://helseid.nhn.no', 'patient/Nonsense.read', 'what:is-this'];
  const tokens = await app().open(first, { scope: `${NAV_SCOPE} ${extra.join(' ')}` });
  const granted = tokens.scope.split(' ');
  for (const scope of NAV_SCOPE.split(' ')) assert.ok(granted.includes(scope), scope);
  assert.ok(!granted.includes('what:is-this') && !granted.includes('patient/Nonsense.read'));
});

await test('5: in production the HelseID scope is no scope of the app, and what it may write is only what was asked for', async () => {
  const asked = `${NAV_SCOPE} https://helseid.nhn.no`;
  const tokens = await new NavApp(facts.clients['extra-prod']).open(first, { scope: asked });
  assert.equal(tokens.scope, NAV_SCOPE);
  assert.equal(decodeJwt(tokens.id_token)['https://helseid.nhn.no'], undefined);
  assert.ok(refused((await fhir(`QuestionnaireResponse/${randomUUID()}`, tokens.access_token)).status));
});

await test('5: v2 spelling is granted as v2', async () => {
  const scope = 'openid launch fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/DocumentReference.cruds';
  const tokens = await app().open(first, { scope });
  assert.equal(tokens.scope, scope);
});

await test('6: the practitioner and the organisation of the launch, no other', async () => {
  const nav = app();
  const tokens = await nav.open();
  const { practitioner, organization } = await nav.pages(tokens);
  const stranger = facts.users.map(({ fhir_user }) => fhir_user).find((user) => user !== first.fhir_user);
  assert.ok(refused((await fhir(stranger, tokens.access_token)).status), stranger);
  const listed = async (type) => (await fhir(type, tokens.access_token)).body?.entry?.map(({ resource }) => resource.id) ?? [];
  assert.deepEqual((await listed('Practitioner')).filter((id) => id !== practitioner.id), []);
  assert.deepEqual((await listed('Organization')).filter((id) => id !== organization.id), []);
  const other = facts.patients.find(({ fhir_user }) => fhir_user !== first.fhir_user);
  const theirs = await app().open(other);
  const foreign = (await fhir(`Encounter/${other.encounter}`, theirs.access_token)).body.serviceProvider.reference;
  assert.notEqual(foreign, `Organization/${organization.id}`, 'the data holds two organisations');
  assert.ok(refused((await fhir(foreign, tokens.access_token)).status), foreign);
});

await test('6: another patient, and an encounter that is not theirs', async () => {
  const { access_token } = await app().open();
  assert.ok(refused((await fhir(`Patient/${second.patient}`, access_token)).status));
  assert.ok(refused((await fhir(`Encounter/${second.encounter}`, access_token)).status));
  const { status, body } = await fhir(`Condition?encounter=${second.encounter}`, access_token);
  assert.ok(refused(status) || (body.entry ?? []).length === 0, `${status}`);
});

await test('7: two patients in two tabs of one browser', async () => {
  const browser = new Browser();
  const [one, two] = [app(), app()];
  const left = await one.open(first, { browser });
  const right = await two.open(second, { browser });
  assert.deepEqual([left.patient, left.encounter], [first.patient, first.encounter]);
  assert.deepEqual([right.patient, right.encounter], [second.patient, second.encounter]);
  await two.pages(right);
  await one.pages(left);
  assert.ok(refused((await fhir(`Patient/${second.patient}`, left.access_token)).status));
  assert.ok(refused((await fhir(`Patient/${first.patient}`, right.access_token)).status));
  await Promise.all([left, right].map(async ({ refresh_token }) => assert.equal((await one.refresh(refresh_token)).status, 200)));
});

await test('7: two launches under way at once in one browser, finished in the other order', async () => {
  const browser = new Browser();
  const [one, two] = [app(), app()];
  const [a, b] = [await launch('syk-inn', first, browser), await launch('syk-inn', second, browser)];
  const [left, right] = [await one.begin(a), await two.begin(b)];
  const rightBack = await browser.goUntil(right.url, [two.redirect_uri]);
  const leftBack = await browser.goUntil(left.url, [one.redirect_uri]);
  assert.equal((await one.callback(leftBack, left)).patient, first.patient);
  assert.equal((await two.callback(rightBack, right)).patient, second.patient);
});

await test('8, 9, 10: five refreshes at once; nothing of the launch in the answers; old tokens stay good', async () => {
  const nav = app();
  const tokens = await nav.open();
  const answers = await Promise.all(Array.from({ length: 5 }, () => nav.refresh(tokens.refresh_token)));
  for (const { status, body } of answers) {
    assert.equal(status, 200, JSON.stringify(body));
    for (const name of ['patient', 'encounter', 'practitioner', 'need_patient_banner', 'intent', 'fhirContext']) assert.equal(body[name], undefined, name);
    await nav.verify(body.access_token);
    assert.equal(body.token_type, 'Bearer');
  }
  const last = answers.at(-1).body;
  assert.equal((await nav.refresh(last.refresh_token ?? tokens.refresh_token)).status, 200);
  for (const token of [tokens.access_token, ...answers.map(({ body }) => body.access_token)]) {
    assert.equal((await fhir(`Patient/${first.patient}`, token)).status, 200);
    assert.equal((await introspect(token)).patient, first.patient);
  }
});

await test('9: an old access token is good until it ends, and not a minute longer', async (row) => {
  const nav = app();
  const tokens = await nav.open();
  assert.equal((await nav.refresh(tokens.refresh_token)).status, 200);
  row.after(() => setClock(0));
  await setClock(3590);
  assert.equal((await fhir(`Patient/${first.patient}`, tokens.access_token)).status, 200);
  await setClock(3660);
  const { status, headers, body } = await fhir(`Patient/${first.patient}`, tokens.access_token);
  assert.deepEqual([status, body.resourceType], [401, 'OperationOutcome']);
  assert.match(headers.get('www-authenticate'), /^Bearer .*error="invalid_token"/);
  assert.equal((await nav.refresh(tokens.refresh_token)).status, 200);
});

await test('11: a key is rotated under a session', async (row) => {
  const nav = app();
  const tokens = await nav.open();
  const keys = async () => (await (await fetch(nav.found.jwks_uri)).json()).keys.filter(({ alg }) => alg === 'RS256').map(({ kid }) => kid);
  const signer = async () => decodeProtectedHeader((await nav.refresh(tokens.refresh_token)).body.access_token).kid;
  const [before, old] = [await keys(), decodeProtectedHeader(tokens.access_token).kid];
  const answer = await ops('/keys/rotate', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ alg: 'RS256' }) });
  assert.ok(answer.ok, `POST /keys/rotate → ${answer.status} ${await answer.text()}`);
  const next = (await keys()).filter((kid) => !before.includes(kid));
  assert.equal(next.length, 1, 'the new key is published');
  assert.equal(await signer(), old, 'and does not sign yet');
  row.after(() => setClock(0));
  await setClock(599);
  assert.equal(await signer(), old, 'nor for ten minutes');
  await setClock(660);
  assert.equal(await signer(), next[0], 'then it does');
  // The token from before: its key is still published, and the FHIR server still takes it.
  assert.ok((await keys()).includes(old));
  await nav.pages(tokens);
});

await test('12: a document that is not there is 404 with an OperationOutcome', async () => {
  const { access_token } = await app().open(first, { scope: `${NAV_SCOPE} patient/QuestionnaireResponse.read` });
  for (const type of ['DocumentReference', 'QuestionnaireResponse']) {
    const { status, headers, body } = await fhir(`${type}/${randomUUID()}`, access_token);
    assert.equal(status, 404, type);
    assert.match(headers.get('content-type'), /^application\/(fhir\+)?json/);
    assert.equal(body.resourceType, 'OperationOutcome');
    assert.ok(body.issue[0].severity && body.issue[0].code);
  }
});

await test('20: a code sent again is invalid_grant, and the session goes on', async () => {
  const nav = app();
  const tokens = await nav.open();
  const again = await nav.exchange(tokens.code, tokens.begun);
  assert.deepEqual([again.status, again.body.error], [400, 'invalid_grant']);
  assert.equal(typeof again.body.error_description, 'string');
  await nav.pages(tokens);
  assert.equal((await nav.refresh(tokens.refresh_token)).status, 200, 'registered with code_replay = "refuse"');
});

await test('20: still so when the callback is reloaded a minute later', async (row) => {
  const nav = app();
  const tokens = await nav.open();
  await setClock(61);
  row.after(() => setClock(0));
  const again = await nav.exchange(tokens.code, tokens.begun);
  assert.deepEqual([again.status, again.body.error], [400, 'invalid_grant']);
  assert.equal((await fhir(`Patient/${first.patient}`, tokens.access_token)).status, 200);
  assert.equal((await nav.refresh(tokens.refresh_token)).status, 200);
});

await test('a launch used twice is an error redirect', async () => {
  const browser = new Browser();
  const started = await launch('syk-inn', first, browser);
  const nav = app();
  const once = await nav.begin(started);
  await nav.callback(await browser.goUntil(once.url, [nav.redirect_uri]), once);
  const twice = await nav.begin(started);
  const back = await browser.goUntil(twice.url, [nav.redirect_uri]);
  assert.equal(back.searchParams.get('error'), 'invalid_request', 'NAV-024');
  assert.equal(back.searchParams.get('state'), twice.state);
});

await test('a redirect URI with one character changed is a page of the server, not a redirect', async () => {
  const nav = new NavApp({ ...facts.clients['syk-inn'], redirect_uri: `${facts.clients['syk-inn'].redirect_uris[0]}x` });
  const { url } = await nav.begin({ iss: facts.fhir });
  const response = await new Browser().look(url);
  assert.equal(response.status, 400);
  assert.match(response.headers.get('content-type'), /text\/html/);
});
