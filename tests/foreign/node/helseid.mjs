// openid-client against the mock of HelseID: PAR, DPoP with nonces, private_key_jwt, refresh to another audience. It knows nothing of HelseID;
// what is HelseID's own is said here: the type of the assertion, and one audience a token.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { importJWK } from 'jose';
import * as client from 'openid-client';
import { Browser } from './lib/browser.mjs';

const facts = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { client_id, private_jwk, redirect_uri } = facts.client;
const PID = 'helseid://claims/identity/pid';
const SCOPE = `openid profile offline_access helseid://scopes/identity/pid helseid://scopes/identity/security_level fjord:epj-api/read demo:kjerne/read`;

const key = await importJWK(private_jwk, private_jwk.alg);
const auth = client.PrivateKeyJwt(
  { key, kid: private_jwk.kid },
  { [client.modifyAssertion]: (header, payload) => Object.assign(header, { typ: 'client-authentication+jwt' }) && Object.assign(payload, { aud: facts.issuer }) },
);
const config = await client.discovery(new URL(facts.issuer), client_id, undefined, auth, { execute: [client.allowInsecureRequests] });
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
const part = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

let tokens;

await test('a login by PAR and DPoP gives tokens the library accepts', async () => {
  const [verifier, state, nonce] = [client.randomPKCECodeVerifier(), client.randomState(), client.randomNonce()];
  const url = await client.buildAuthorizationUrlWithPAR(
    config,
    new URLSearchParams([
      ['redirect_uri', redirect_uri],
      ['scope', SCOPE],
      ['resource', 'fjord:epj-api'],
      ['resource', 'demo:kjerne'],
      ['code_challenge', await client.calculatePKCECodeChallenge(verifier)],
      ['code_challenge_method', 'S256'],
      ['state', state],
      ['nonce', nonce],
    ]),
    { DPoP },
  );
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri']);
  const callback = await new Browser().goUntil(url, [redirect_uri]);
  assert.equal(callback.searchParams.get('iss'), facts.issuer, 'RFC 9207');
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
  tokens = await client.authorizationCodeGrant(config, callback, checks, { resource: 'fjord:epj-api' }, { DPoP });
  assert.equal(tokens.token_type, 'dpop', 'the library lowers the case');
  assert.equal(tokens.claims().aud, client_id);
  assert.match(tokens.claims()[PID], /^\d{11}$/);
  const { aud, scope, cnf } = part(tokens.access_token);
  assert.equal(aud, 'fjord:epj-api');
  assert.deepEqual(scope.filter((name) => name.startsWith('fjord:')), ['fjord:epj-api/read']);
  assert.equal(cnf.jkt, await DPoP.calculateThumbprint());
});

await test('a refresh gives a token for another audience, a new refresh token and an id_token', async () => {
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token, { resource: 'demo:kjerne' }, { DPoP });
  assert.equal(part(renewed.access_token).aud, 'demo:kjerne');
  assert.notEqual(renewed.refresh_token, tokens.refresh_token);
  assert.equal(renewed.claims().sub, tokens.claims().sub);
  assert.ok(renewed.rt_expires_in > 0);
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token, {}, { DPoP }), { error: 'invalid_grant' });
  tokens = renewed;
});

await test('the API behind takes the token with the proof of the library', async () => {
  const answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${facts.sample_api}/kjerne`), 'GET', undefined, undefined, { DPoP });
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).claims.sub, tokens.claims().sub);
});
