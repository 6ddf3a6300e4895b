// openid-client with tokens bound to a key (RFC 9449): a confidential app on an EHR launch, from the code to the FHIR server.
import assert from 'node:assert/strict';
import test from 'node:test';
import { importJWK } from 'jose';
import * as client from 'openid-client';
import { Browser } from './lib/browser.mjs';
import { facts, fhir, first, introspect, launch, redirectUri } from './lib/demo.mjs';

const PORTAL = 'regional-portal';
const SCOPE = 'openid launch fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs';
const { private_jwk } = facts.clients[PORTAL];
const auth = client.PrivateKeyJwt({ key: await importJWK(private_jwk), kid: private_jwk.kid });
const server = await client.discovery(new URL(facts.issuer), PORTAL, undefined, auth, { execute: [client.allowInsecureRequests] });

const handle = async (alg) => client.getDPoPHandle(server, await client.randomDPoPKeyPair(alg));
const DPoP = await handle('ES256');
const patientUrl = new URL(`${facts.fhir}/Patient/${first.patient}`);

/** From the click to the callback; `ask` may add parameters, `dpop_jkt` among them. */
async function begin(ask = {}) {
  const started = await launch(PORTAL);
  const [verifier, state] = [client.randomPKCECodeVerifier(), client.randomState()];
  const url = client.buildAuthorizationUrl(server, {
    redirect_uri: redirectUri(PORTAL), scope: SCOPE, state, aud: started.iss, launch: started.launch,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...ask,
  });
  const callback = await started.browser.goUntil(url, [redirectUri(PORTAL)]);
  return { callback, checks: { pkceCodeVerifier: verifier, expectedState: state, idTokenExpected: true } };
}

test('the metadata says with what proofs may be signed', () => {
  const algs = server.serverMetadata().dpop_signing_alg_values_supported;
  assert.ok(algs.includes('ES256') && algs.includes('PS256') && !algs.includes('none'), algs);
});

let tokens;

await test('without a proof there is no token, and the code is not spent on it', async () => {
  const { callback, checks } = await begin();
  await assert.rejects(client.authorizationCodeGrant(server, callback, checks), { error: 'invalid_dpop_proof', status: 400 });
  tokens = await client.authorizationCodeGrant(server, callback, checks, undefined, { DPoP });
  assert.equal(tokens.token_type, 'dpop', 'the library lowers the case');
  assert.equal(tokens.patient, first.patient);
  assert.equal(tokens.claims().fhirUser, first.fhir_user);
});

await test('introspection tells the key', async () => {
  const told = await introspect(tokens.access_token);
  assert.deepEqual([told.active, told.token_type, told.cnf], [true, 'DPoP', { jkt: await DPoP.calculateThumbprint() }]);
});

await test('the token and its proof open the FHIR server and userinfo', async () => {
  const response = await client.fetchProtectedResource(server, tokens.access_token, patientUrl, 'GET', undefined, undefined, { DPoP });
  assert.equal((await response.json()).id, first.patient);
  const info = await client.fetchUserInfo(server, tokens.access_token, tokens.claims().sub, { DPoP });
  assert.equal(info.fhirUser, first.fhir_user);
});

await test('a search, whose query is no part of the proof', async () => {
  const url = new URL(`${facts.fhir}/Condition?patient=${first.patient}&_count=2`);
  const response = await client.fetchProtectedResource(server, tokens.access_token, url, 'GET', undefined, undefined, { DPoP });
  assert.equal(response.status, 200);
  assert.equal((await response.json()).resourceType, 'Bundle');
});

await test('as a bearer token it opens nothing', async () => {
  const plain = await fhir(`Patient/${first.patient}`, tokens.access_token);
  assert.equal(plain.status, 401);
  assert.match(plain.headers.get('www-authenticate'), /^DPoP .*error="invalid_token".*algs="ES256/);
  await assert.rejects(client.fetchUserInfo(server, tokens.access_token, tokens.claims().sub), (error) => {
    assert.equal(error.cause[0].scheme, 'dpop');
    assert.equal(error.cause[0].parameters.error, 'invalid_token');
    return true;
  });
});

await test("with another key's proof it opens nothing either", async () => {
  const thief = await handle('ES256');
  await assert.rejects(client.fetchUserInfo(server, tokens.access_token, tokens.claims().sub, { DPoP: thief }), (error) => {
    assert.equal(error.cause[0].parameters.error, 'invalid_token');
    return true;
  });
  const response = await client
    .fetchProtectedResource(server, tokens.access_token, patientUrl, 'GET', undefined, undefined, { DPoP: thief })
    .catch((error) => error.response ?? error);
  assert.equal(response.status, 401);
});

await test('a refresh brings a token for the key it is asked with, on RSA too', async () => {
  const rsa = await handle('PS256');
  const fresh = await client.refreshTokenGrant(server, tokens.refresh_token, undefined, { DPoP: rsa });
  assert.equal((await introspect(fresh.access_token)).cnf.jkt, await rsa.calculateThumbprint());
  const response = await client.fetchProtectedResource(server, fresh.access_token, patientUrl, 'GET', undefined, undefined, { DPoP: rsa });
  assert.equal(response.status, 200);
});

await test('a code bound by dpop_jkt is for that key alone', async () => {
  const { callback, checks } = await begin({ dpop_jkt: await DPoP.calculateThumbprint() });
  await assert.rejects(client.authorizationCodeGrant(server, callback, checks, undefined, { DPoP: await handle('ES256') }), { error: 'invalid_dpop_proof' });
  const bound = await client.authorizationCodeGrant(server, callback, checks, undefined, { DPoP });
  assert.equal(bound.token_type, 'dpop');
});

await test('where the FHIR server wants a nonce, the library fetches one by itself', async () => {
  const turn = (on) =>
    fetch(`${facts.fhir_ops}/switches`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${facts.ops_token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ dpop_nonce_always: on }),
    });
  assert.equal((await turn(true)).status, 200);
  const own = await handle('ES256');
  const fresh = await client.refreshTokenGrant(server, tokens.refresh_token, undefined, { DPoP: own });
  const ask = () => client.fetchProtectedResource(server, fresh.access_token, patientUrl, 'GET', undefined, undefined, { DPoP: own });
  const response = await ask();
  assert.equal(response.status, 200, 'it tried again with the nonce');
  assert.equal((await ask()).status, 200, 'and kept it');
  assert.equal((await turn(false)).status, 200);
});
