// The sykmelding app as it behaves on the wire: which requests with exactly which parameters, and what it checks in the answers.
// A raw client on purpose: a library would send what NAV's does not.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { SignJWT, createRemoteJWKSet, decodeJwt, importJWK, jwtVerify } from 'jose';
import { Browser } from './browser.mjs';
import { facts, fhir, first, launch, redirectUri } from './demo.mjs';

export const NAV_SCOPE =
  'openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read patient/DocumentReference.read patient/DocumentReference.write';

const random = () => randomBytes(32).toString('base64url');
const asString = (value, name) => {
  if (typeof value !== 'string') throw new Error(`${name} is not a string but ${JSON.stringify(value)}`);
  return value;
};

/** What the app keeps of `smart-configuration`; each member must be a string, or it says "invalid issuer". */
export async function discover(iss) {
  const response = await fetch(`${iss.replace(/\/$/, '')}/.well-known/smart-configuration`);
  if (!response.ok) throw new Error(`discovery → ${response.status}`);
  const found = await response.json();
  const needed = ['issuer', 'jwks_uri', 'introspection_endpoint', 'authorization_endpoint', 'token_endpoint'];
  return Object.fromEntries(needed.map((name) => [name, asString(found[name], name)]));
}

export class NavApp {
  /** `basic` decides how the credentials are written in the header; as they are, unless a test wants otherwise. */
  constructor({ client_id, auth, client_secret, private_jwk, redirect_uri }, basic = (id, secret) => `${id}:${secret}`) {
    Object.assign(this, { client_id, auth, client_secret, private_jwk, basic, redirect_uri: redirect_uri ?? redirectUri(client_id) });
  }

  /** The authorization request and what has to be remembered for the callback. Parameters in the order the app sends them. */
  async begin({ iss, launch: handle, scope = NAV_SCOPE, aud = iss }) {
    this.found = await discover(iss);
    const [verifier, state] = [random(), random()];
    const parameters = {
      response_type: 'code',
      client_id: this.client_id,
      scope,
      redirect_uri: this.redirect_uri,
      aud,
      ...(handle ? { launch: handle } : {}),
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    };
    // Appended blindly: an authorization endpoint with a query string would break here.
    return { verifier, state, url: `${this.found.authorization_endpoint}?${new URLSearchParams(parameters)}` };
  }

  /** One form to the token endpoint; `status` and `body` as they came. */
  async token(form) {
    const { headers = {}, fields = {} } = await this.#credentials();
    const response = await fetch(this.found.token_endpoint, {
      method: 'POST',
      headers: { accept: 'application/json', ...headers },
      body: new URLSearchParams({ ...form, client_id: this.client_id, ...fields }),
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  }

  async #credentials() {
    switch (this.auth) {
      case 'client_secret_basic':
        return { headers: { authorization: `Basic ${Buffer.from(this.basic(this.client_id, this.client_secret)).toString('base64')}` } };
      case 'client_secret_post':
        return { fields: { client_secret: this.client_secret } };
      case 'private_key_jwt': {
        const { alg, kid } = this.private_jwk;
        const assertion = new SignJWT({ jti: randomUUID() }).setProtectedHeader({ alg, kid, typ: 'JWT' }).setIssuer(this.client_id).setSubject(this.client_id);
        assertion.setAudience(this.found.token_endpoint).setIssuedAt().setExpirationTime('60s');
        const client_assertion = await assertion.sign(await importJWK(this.private_jwk));
        return { fields: { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion } };
      }
      default:
        throw new Error(`${this.client_id} authenticates by ${this.auth}?`);
    }
  }

  exchange(code, { verifier }) {
    return this.token({ grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: this.redirect_uri });
  }

  refresh(refresh_token) {
    return this.token({ grant_type: 'refresh_token', refresh_token });
  }

  /** From the launch URL to the app's session. */
  async open(context = first, { browser = new Browser(), slash = '', scope } = {}) {
    const started = await launch(this.client_id, context, browser);
    const begun = await this.begin({ iss: `${started.iss}${slash}`, launch: started.launch, scope });
    const callback = await browser.goUntil(begun.url, [this.redirect_uri]);
    return this.callback(callback, begun);
  }

  async callback(url, begun) {
    const { error, code, state } = Object.fromEntries(url.searchParams);
    if (error) throw Object.assign(new Error(`callback with ${error}: ${url.searchParams.get('error_description')}`), { error });
    if (asString(state, 'state') !== begun.state) throw new Error('another state');
    const { status, headers, body } = await this.exchange(asString(code, 'code'), begun);
    if (status !== 200) throw Object.assign(new Error(`token → ${status} ${JSON.stringify(body)}`), { error: body.error });
    for (const name of ['access_token', 'id_token', 'refresh_token', 'patient', 'encounter']) asString(body[name], name);
    const fhirUser = asString(decodeJwt(body.id_token).fhirUser, 'fhirUser');
    return { ...body, fhirUser, code, begun, headers };
  }

  /** Before each use of an access token: signed with RS256 by a key of the issuer, no tolerance in time. */
  async verify(access_token) {
    return jwtVerify(access_token, createRemoteJWKSet(new URL(this.found.jwks_uri), { cooldownDuration: 0 }), {
      algorithms: ['RS256'],
      issuer: this.found.issuer,
    });
  }

  /** The answers of `Practitioner/U`, `Patient/P`, `Encounter/E`, its Organization, and the diagnoses: what the pages read. */
  async pages({ access_token, patient, encounter, fhirUser }) {
    await this.verify(access_token);
    const read = async (path) => {
      const { status, body } = await fhir(path, access_token);
      if (status !== 200) throw new Error(`${path} → ${status} ${JSON.stringify(body)}`);
      return body;
    };
    const [practitioner, person] = await Promise.all([read(fhirUser), read(`Patient/${patient}`)]);
    const visit = await read(`Encounter/${encounter}`);
    const organization = await read(visit.serviceProvider.reference);
    const conditions = await read(`Condition?encounter=${encounter}`);
    return { practitioner, patient: person, encounter: visit, organization, conditions };
  }
}
