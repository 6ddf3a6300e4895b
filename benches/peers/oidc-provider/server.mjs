// The npm package oidc-provider as a peer to measure beside: settings of our own, its in-memory adapter as shipped.
//   node server.mjs PORT jwt|opaque RS256|ES256 KEYS SECONDS
import { createPrivateKey, createPublicKey, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Provider, errors } from 'oidc-provider';
import * as jose from 'jose';

const [port, format, alg, keys, seconds] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const keyFile = (n) => `${keys}/${n}.pem`;
const priv = (n, extra) => ({ ...createPrivateKey(readFileSync(keyFile(n))).export({ format: 'jwk' }), ...extra });
const pub = (n, extra) => ({ ...createPublicKey(readFileSync(keyFile(n))).export({ format: 'jwk' }), ...extra });

const signJwk = priv(alg, { kid: 'srv', use: 'sig', alg });
const verifyKey = await jose.importJWK(pub(alg, { alg }), alg);

const resource = 'urn:bench:fhir';
const scopes = 'openid offline_access fhirUser launch launch/patient patient/Observation.rs system/Patient.rs';
const base = { redirect_uris: [], response_types: [], id_token_signed_response_alg: alg };
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const clients = [
  { ...base, client_id: 'cc', client_secret: 'secret-cc', grant_types: ['client_credentials', exchangeGrant], token_endpoint_auth_method: 'client_secret_basic', scope: 'system/Patient.rs' },
  { ...base, client_id: 'lab-es384', grant_types: ['client_credentials'], token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES384', jwks: { keys: [pub('ES384', { kid: 'ES384', alg: 'ES384', use: 'sig' })] }, scope: 'system/Patient.rs' },
  { ...base, client_id: 'lab-rs384', grant_types: ['client_credentials'], token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'RS384', jwks: { keys: [pub('RS384', { kid: 'RS384', alg: 'RS384', use: 'sig' })] }, scope: 'system/Patient.rs' },
  { ...base, client_id: 'web', client_secret: 'secret-web', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], redirect_uris: ['http://127.0.0.1:9/cb'], token_endpoint_auth_method: 'client_secret_basic', scope: scopes.replace(' system/Patient.rs', '') },
];

const allAlgs = ['RS256', 'RS384', 'ES256', 'ES384'];
const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [signJwk] },
  scopes: scopes.split(' '),
  claims: { openid: ['sub'], fhirUser: ['fhirUser'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['bench-cookie-key'] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  enabledJWA: { clientAuthSigningAlgValues: allAlgs, idTokenSigningAlgValues: allAlgs },
  extraClientMetadata: { properties: [] },
  async findAccount(ctx, id) {
    return { accountId: id, async claims() { return { sub: id, fhirUser: 'Practitioner/1' }; } };
  },
  async loadExistingGrant(ctx) {
    const g = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    g.addOIDCScope(scopes);
    g.addResourceScope(resource, scopes);
    await g.save();
    return g;
  },
  interactions: { url: (ctx, i) => `/interaction/${i.uid}` },
  ttl: { AccessToken: 3600, ClientCredentials: 3600, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Session: 86400, Grant: 86400, Interaction: 600 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: scopes,
        audience: resource,
        accessTokenFormat: format,
        accessTokenTTL: 3600,
        jwt: format === 'jwt' ? { sign: { alg } } : undefined,
      }),
    },
  },
});

// A minimal RFC 8693 grant of our own (the package has none built in): check the
// signature of the subject token, then issue a down-scoped access token.
provider.registerGrantType(exchangeGrant, async (ctx) => {
  const { params, client } = ctx.oidc;
  let sub;
  if (format === 'jwt') {
    let r;
    try {
      r = await jose.jwtVerify(params.subject_token, verifyKey, { issuer });
    } catch {
      throw new errors.InvalidGrant('bad subject_token');
    }
    sub = r.payload.sub ?? r.payload.client_id;
  } else {
    const t = await provider.ClientCredentials.find(params.subject_token);
    if (!t) throw new errors.InvalidGrant('bad subject_token');
    sub = t.clientId;
  }
  const at = new provider.ClientCredentials({ client, scope: 'system/Patient.rs' });
  at.resourceServer = new provider.ResourceServer(resource, { scope: scopes, audience: resource, accessTokenFormat: format, accessTokenTTL: 3600, jwt: format === 'jwt' ? { sign: { alg } } : undefined });
  at.extra = { act: { sub } };
  ctx.body = {
    access_token: await at.save(), issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer', expires_in: at.expiration, scope: at.scope,
  };
}, ['subject_token', 'subject_token_type', 'audience', 'scope', 'requested_token_type']);

// Interactions that log in and consent without asking.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const d = await provider.interactionDetails(ctx.req, ctx.res);
  const result = { login: { accountId: 'practitioner-1' }, consent: {} };
  ctx.status = 303;
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission: true }));
});

provider.listen(Number(port), '127.0.0.1');
setTimeout(() => process.exit(0), Number(seconds) * 1000);
