// openid-client as an app under FAPI 2.0: pushed requests, private_key_jwt and tokens bound to a key, on an EHR launch. RFC 9126, RFC 9449.
import assert from 'node:assert/strict';
import test from 'node:test';
import { importJWK } from 'jose';
import * as client from 'openid-client';
import { Browser } from './lib/browser.mjs';
import { facts, first, introspect, launch, redirectUri } from './lib/demo.mjs';

const APP = 'extra-fapi2';
const { private_jwk } = facts.clients[APP];
const auth = client.PrivateKeyJwt({ key: await importJWK(private_jwk), kid: private_jwk.kid });
const metadata = { id_token_signed_response_alg: 'ES256', require_pushed_authorization_requests: true, dpop_bound_access_tokens: true };
const server = await client.discovery(new URL(facts.issuer), APP, metadata, auth, { execute: [client.allowInsecureRequests] });
const DPoP = client.getDPoPHandle(server, await client.randomDPoPKeyPair('ES256'));
const patientUrl = new URL(`${facts.fhir}/Patient/${first.patient}`);

/** From the click to the callback, by a pushed request. */
async function begin() {
  const started = await launch(APP);
  const verifier = client.randomPKCECodeVerifier();
  const params = {
    redirect_uri: redirectUri(APP), scope: 'openid launch fhirUser offline_access patient/Patient.rs', nonce: 'n'.repeat(64), aud: started.iss, launch: started.launch,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  };
  const url = await client.buildAuthorizationUrlWithPAR(server, params, { DPoP });
  return { started, url, checks: { pkceCodeVerifier: verifier, expectedNonce: 'n'.repeat(64), idTokenExpected: true }, params };
}

let tokens;

await test('what was pushed is all the browser carries, and leads to tokens bound to the key', async () => {
  const { started, url, checks } = await begin();
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri']);
  const callback = await started.browser.goUntil(url, [redirectUri(APP)]);
  assert.equal(callback.searchParams.get('iss'), facts.issuer);
  tokens = await client.authorizationCodeGrant(server, callback, checks, undefined, { DPoP });
  assert.deepEqual([tokens.token_type, tokens.patient], ['dpop', first.patient]);
  assert.equal(JSON.parse(Buffer.from(tokens.access_token.split('.')[0], 'base64url')).alg, 'ES256');
  assert.equal((await introspect(tokens.access_token)).cnf.jkt, await DPoP.calculateThumbprint());
});

await test('the token and its proof open the FHIR server and userinfo', async () => {
  const response = await client.fetchProtectedResource(server, tokens.access_token, patientUrl, 'GET', undefined, undefined, { DPoP });
  assert.equal((await response.json()).id, first.patient);
  assert.equal((await client.fetchUserInfo(server, tokens.access_token, tokens.claims().sub, { DPoP })).fhirUser, first.fhir_user);
});

await test('the refresh token stays the same', async () => {
  const fresh = await client.refreshTokenGrant(server, tokens.refresh_token, undefined, { DPoP });
  assert.ok(fresh.refresh_token === undefined || fresh.refresh_token === tokens.refresh_token);
});

await test('the code is for the key of the pushed request alone', async () => {
  const { started, url, checks } = await begin();
  const callback = await started.browser.goUntil(url, [redirectUri(APP)]);
  const thief = client.getDPoPHandle(server, await client.randomDPoPKeyPair('ES256'));
  await assert.rejects(client.authorizationCodeGrant(server, callback, checks, undefined, { DPoP: thief }), { error: 'invalid_dpop_proof' });
});

await test('a request that was not pushed is refused, and so is what is wrong when it is', async () => {
  const { params } = await begin();
  const callback = await new Browser().goUntil(client.buildAuthorizationUrl(server, params), [redirectUri(APP)]);
  assert.equal(callback.searchParams.get('error'), 'invalid_request');
  await assert.rejects(client.buildAuthorizationUrlWithPAR(server, { ...params, redirect_uri: 'https://evil.example/cb' }, { DPoP }), { error: 'invalid_request', status: 400 });
});
