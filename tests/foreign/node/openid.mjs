// openid-client against the demo: it is what a Node backend takes that speaks OAuth 2 and OpenID Connect, and knows nothing of SMART.
import assert from 'node:assert/strict';
import test from 'node:test';
import { importJWK } from 'jose';
import * as client from 'openid-client';
import { Browser } from './lib/browser.mjs';
import { facts, fhir, first, launch, redirectUri } from './lib/demo.mjs';

const loopback = { execute: [client.allowInsecureRequests] };
const sykInn = facts.clients['syk-inn'];
const SCOPE = 'openid profile launch fhirUser offline_access patient/Patient.read patient/Condition.read';

const discover = (id, auth, options = {}) => client.discovery(new URL(facts.issuer), id, undefined, auth, { ...loopback, ...options });

test('discovery finds the issuer by both well-known names, and they agree', async () => {
  const [oidc, oauth2] = await Promise.all(['oidc', 'oauth2'].map((algorithm) => discover('syk-inn', client.None(), { algorithm })));
  assert.equal(oidc.serverMetadata().issuer, facts.issuer);
  assert.deepEqual(oidc.serverMetadata(), oauth2.serverMetadata());
  assert.ok(oidc.serverMetadata().supportsPKCE('S256'));
});

const server = await discover('syk-inn', client.ClientSecretBasic(sykInn.client_secret));

/** One launch, from the click to the tokens; the library checks state, iss, the id_token's signature and claims, and nonce. */
async function open(config, browser, { scope = SCOPE, nonce, ...more } = {}) {
  const { client_id } = config.clientMetadata();
  const started = more.aud ? { browser } : await launch(client_id, first, browser);
  const [verifier, state] = [client.randomPKCECodeVerifier(), client.randomState()];
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri(client_id),
    scope,
    state,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...(nonce ? { nonce } : {}),
    ...(started.launch ? { aud: started.iss, launch: started.launch } : more),
  });
  const callback = await browser.goUntil(url, [redirectUri(client_id)]);
  const checks = { pkceCodeVerifier: verifier, expectedState: state, idTokenExpected: true, ...(nonce ? { expectedNonce: nonce } : {}) };
  return { callback, tokens: await client.authorizationCodeGrant(config, callback, checks) };
}

let tokens;

await test('an EHR launch gives tokens the library accepts', async () => {
  const nonce = client.randomNonce();
  const opened = await open(server, new Browser(), { nonce });
  tokens = opened.tokens;
  assert.equal(opened.callback.searchParams.get('iss'), facts.issuer, 'RFC 9207');
  const claims = tokens.claims();
  assert.equal(claims.aud, 'syk-inn');
  assert.equal(claims.nonce, nonce);
  assert.equal(claims.fhirUser, first.fhir_user);
  assert.equal(tokens.patient, first.patient);
  assert.equal(tokens.encounter, first.encounter);
  assert.equal(tokens.token_type, 'bearer', 'the library lowers the case');
  assert.ok(tokens.refresh_token);
});

await test('the access token opens the FHIR server, by a request of the library', async () => {
  const response = await client.fetchProtectedResource(server, tokens.access_token, new URL(`${facts.fhir}/Patient/${first.patient}`), 'GET');
  assert.equal((await response.json()).id, first.patient);
});

await test('userinfo is about the same subject', async () => {
  const info = await client.fetchUserInfo(server, tokens.access_token, tokens.claims().sub);
  assert.equal(info.fhirUser, first.fhir_user);
});

await test('introspection by the FHIR server shows the context', async () => {
  const { client_secret } = facts.clients['fhir-server'];
  const resourceServer = await discover('fhir-server', client.ClientSecretBasic(client_secret));
  const answer = await client.tokenIntrospection(resourceServer, tokens.access_token);
  assert.equal(answer.active, true);
  assert.equal(answer.patient, first.patient);
  assert.equal(answer.client_id, 'syk-inn');
  assert.equal(answer.iss, facts.issuer);
  assert.deepEqual([answer.aud].flat(), [facts.fhir]);
  const refresh = await client.tokenIntrospection(resourceServer, tokens.refresh_token);
  assert.deepEqual(refresh, { active: false }, 'only access tokens are active');
});

await test('refresh gives a new access token, and the library accepts its id_token', async () => {
  const fresh = await client.refreshTokenGrant(server, tokens.refresh_token);
  assert.notEqual(fresh.access_token, tokens.access_token);
  assert.equal((await fhir(`Patient/${first.patient}`, fresh.access_token)).status, 200);
  assert.equal(fresh.claims()?.sub ?? tokens.claims().sub, tokens.claims().sub, 'OIDC Core §12.2');
});

await test('a narrower scope is what the refresh then gives; a wider one is refused', async () => {
  const narrow = await client.refreshTokenGrant(server, tokens.refresh_token, { scope: 'openid patient/Patient.read' });
  assert.equal(narrow.scope.split(' ').sort().join(' '), 'openid patient/Patient.read');
  assert.ok([403, 404].includes((await fhir('Condition?patient=' + first.patient, narrow.access_token)).status));
  await assert.rejects(client.refreshTokenGrant(server, tokens.refresh_token, { scope: 'patient/Observation.read' }), { error: 'invalid_scope' });
});

await test('prompt=none without a session comes back as an error of the library', async () => {
  const quiet = new Browser();
  const url = client.buildAuthorizationUrl(server, {
    redirect_uri: redirectUri('syk-inn'), scope: 'openid fhirUser', state: 'quiet-please-01', prompt: 'none', aud: facts.fhir,
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()), code_challenge_method: 'S256',
  });
  const callback = await quiet.goUntil(url, [redirectUri('syk-inn')]);
  await assert.rejects(client.authorizationCodeGrant(server, callback, { expectedState: 'quiet-please-01' }), (error) => {
    assert.equal(error.error, 'login_required');
    return true;
  });
});

await test('revocation ends the grant', async () => {
  await client.tokenRevocation(server, tokens.refresh_token, { token_type_hint: 'refresh_token' });
  await assert.rejects(client.refreshTokenGrant(server, tokens.refresh_token), { error: 'invalid_grant' });
  assert.equal((await fhir(`Patient/${first.patient}`, tokens.access_token)).status, 401);
});

await test('a wrong secret is a 401 the library can read', async () => {
  const wrong = await discover('syk-inn', client.ClientSecretBasic('not-the-secret'));
  await assert.rejects(client.clientCredentialsGrant(wrong), (error) => {
    // The library reads the challenge before the body.
    assert.equal(error.cause?.[0]?.scheme ?? 'basic', 'basic');
    assert.equal(error.status, 401);
    return true;
  });
});

await test('a client whose secret is all letters and digits, though its id is not, authenticates too', async () => {
  const { client_id, client_secret } = facts.clients['extra-plain'];
  const plain = await discover(client_id, client.ClientSecretBasic(client_secret));
  // The library percent-encodes the hyphen of the id. An unknown token is no error: RFC 7009 §2.2.
  await client.tokenRevocation(plain, 'there-is-no-such-token');
});

await test('a backend service gets its own token with an assertion on ES384', async () => {
  const { client_id, private_jwk } = facts.clients['lab-sync'];
  assert.equal(private_jwk.alg, 'ES384');
  const key = { key: await importJWK(private_jwk), kid: private_jwk.kid };
  const backend = await discover(client_id, client.PrivateKeyJwt(key));
  const answer = await client.clientCredentialsGrant(backend, { scope: 'system/Patient.rs system/Condition.rs' });
  assert.equal(answer.scope, 'system/Patient.rs system/Condition.rs');
  assert.ok(answer.expires_in <= 300);
  assert.equal(answer.refresh_token, undefined);
  const found = await fhir('Patient?_count=5', answer.access_token);
  assert.equal(found.status, 200);
  assert.ok(found.body.entry.length > 1, 'not one patient but all');
  const outside = await fhir('Encounter?_count=1', answer.access_token);
  assert.ok([401, 403].includes(outside.status), `Encounter is not in the scope, yet ${outside.status}`);
});
