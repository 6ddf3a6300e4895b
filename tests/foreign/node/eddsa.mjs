// npm jose with Ed25519 (RFC 8037): a backend service signs its assertion and its proof of possession with it, and verifies the token it gets by our key set.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import test from 'node:test';
import { calculateJwkThumbprint, createRemoteJWKSet, exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT } from 'jose';
import { facts, introspect } from './lib/demo.mjs';

const { client_id, private_jwk } = facts.clients['extra-eddsa'];
const metadata = await (await fetch(`${facts.issuer}/.well-known/openid-configuration`)).json();
const proofKey = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
const jwk = await exportJWK(proofKey.publicKey);

const proof = (htm, htu, more = {}) =>
  new SignJWT({ htm, htu, jti: randomUUID(), ...more }).setProtectedHeader({ alg: 'EdDSA', typ: 'dpop+jwt', jwk }).setIssuedAt().sign(proofKey.privateKey);

let token;

await test('the metadata name EdDSA', () => {
  for (const name of ['token_endpoint_auth', 'id_token', 'dpop']) assert.ok(metadata[`${name}_signing_alg_values_supported`].includes('EdDSA'), name);
});

await test('an assertion and a proof on Ed25519 give a token, signed on Ed25519 and bound to the key', async () => {
  const assertion = await new SignJWT({ jti: randomUUID() })
    .setProtectedHeader({ alg: 'EdDSA', kid: private_jwk.kid, typ: 'JWT' })
    .setIssuer(client_id).setSubject(client_id).setAudience(metadata.token_endpoint).setExpirationTime('1m')
    .sign(await importJWK(private_jwk, 'EdDSA'));
  const body = new URLSearchParams({
    grant_type: 'client_credentials', scope: 'system/Patient.rs', client_assertion: assertion,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  });
  const response = await fetch(metadata.token_endpoint, { method: 'POST', body, headers: { dpop: await proof('POST', metadata.token_endpoint) } });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  token = answer.access_token;
  const options = { issuer: facts.issuer, audience: facts.fhir, algorithms: ['EdDSA'], typ: 'at+jwt' };
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(metadata.jwks_uri)), options);
  assert.equal(payload.cnf.jkt, await calculateJwkThumbprint(jwk), 'both make the same thumbprint of an OKP key');
  assert.equal((await introspect(token)).active, true);
});

await test('the FHIR server takes the proof', async () => {
  const url = `${facts.fhir}/Patient`;
  const ath = createHash('sha256').update(token).digest('base64url');
  const response = await fetch(`${url}?_count=1`, { headers: { authorization: `DPoP ${token}`, dpop: await proof('GET', url, { ath }) } });
  assert.equal(response.status, 200, await response.text());
});
