// openid-client exchanges tokens bound to a key (RFC 8693, RFC 9449) by its generic grant: nothing of it is made for us.
import assert from 'node:assert/strict';
import test from 'node:test';
import { importJWK } from 'jose';
import * as client from 'openid-client';
import { facts, first, introspect, launch, redirectUri } from './lib/demo.mjs';

const PORTAL = 'regional-portal';
const SCOPE = 'openid launch fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

const { private_jwk } = facts.clients[PORTAL];
const auth = client.PrivateKeyJwt({ key: await importJWK(private_jwk), kid: private_jwk.kid });
const server = await client.discovery(new URL(facts.issuer), PORTAL, undefined, auth, { execute: [client.allowInsecureRequests] });
const handle = async () => client.getDPoPHandle(server, await client.randomDPoPKeyPair('ES256'));
const DPoP = await handle();

const exchange = (subject, more = {}, options = { DPoP }) =>
  client.genericGrantRequest(server, EXCHANGE, { subject_token: subject, subject_token_type: ACCESS_TOKEN, resource: facts.fhir, ...more }, options);

const started = await launch(PORTAL);
const [verifier, state] = [client.randomPKCECodeVerifier(), client.randomState()];
const url = client.buildAuthorizationUrl(server, {
  redirect_uri: redirectUri(PORTAL), scope: SCOPE, state, aud: started.iss, launch: started.launch,
  code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
});
const callback = await started.browser.goUntil(url, [redirectUri(PORTAL)]);
const tokens = await client.authorizationCodeGrant(server, callback, { pkceCodeVerifier: verifier, expectedState: state, idTokenExpected: true }, undefined, { DPoP });

test('the metadata offer the grant', () => {
  assert.ok(server.serverMetadata().grant_types_supported.includes(EXCHANGE));
});

await test('a token becomes narrower, and stays bound to the key', async () => {
  const result = await exchange(tokens.access_token, { scope: 'patient/Patient.rs' });
  assert.deepEqual([result.issued_token_type, result.token_type, result.scope], [ACCESS_TOKEN, 'dpop', 'patient/Patient.rs']);
  assert.equal(result.patient, first.patient);
  assert.equal(result.refresh_token, undefined);
  assert.ok(result.expires_in <= 300);
  const told = await introspect(result.access_token);
  assert.deepEqual(told.cnf, { jkt: await DPoP.calculateThumbprint() });
  assert.equal(told.act.sub, PORTAL);
  const read = (path) => client.fetchProtectedResource(server, result.access_token, new URL(`${facts.fhir}/${path}`), 'GET', undefined, undefined, { DPoP });
  assert.equal((await (await read(`Patient/${first.patient}`)).json()).id, first.patient);
  const beyond = await read(`Condition?patient=${first.patient}`).catch((error) => error.response ?? error.cause ?? error);
  assert.notEqual(beyond.status, 200);
});

await test('without a scope it is as much as may be, and never what begins a session', async () => {
  const result = await exchange(tokens.access_token);
  assert.equal(result.scope, 'fhirUser patient/Patient.rs patient/Encounter.rs patient/Condition.rs');
  assert.equal(result.id_token, undefined);
});

await test("another's key, or none, gets nothing", async () => {
  await assert.rejects(exchange(tokens.access_token, {}, { DPoP: await handle() }), { error: 'invalid_request', status: 400 });
  await assert.rejects(exchange(tokens.access_token, {}, {}), { error: 'invalid_dpop_proof', status: 400 });
});

await test('what may not be asked for is told by its code', async () => {
  await assert.rejects(exchange(tokens.access_token, { resource: 'https://elsewhere.example/fhir' }), { error: 'invalid_target' });
  await assert.rejects(exchange(tokens.access_token, { patient: 'pasient-02' }), { error: 'invalid_request' });
  await assert.rejects(exchange(tokens.access_token, { scope: 'system/*.rs' }), { error: 'invalid_scope' });
  await assert.rejects(exchange(tokens.refresh_token), { error: 'invalid_request' });
  await assert.rejects(exchange(tokens.id_token), { error: 'invalid_request' });
});

await test('a result ends when the grant does', async () => {
  const result = await exchange(tokens.access_token);
  assert.equal((await introspect(result.access_token)).active, true);
  await client.tokenRevocation(server, tokens.refresh_token);
  assert.deepEqual(await introspect(result.access_token), { active: false });
  await assert.rejects(exchange(tokens.access_token), { error: 'invalid_request' });
});
