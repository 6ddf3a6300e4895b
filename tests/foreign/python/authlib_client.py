"""Authlib against the demo: a public app with PKCE, and a backend service with a key. Usage: authlib_client.py FACTS.json"""

import json
import sys
import time
import unittest

from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
import requests

from browser import Browser

FACTS = json.load(open(sys.argv[1], encoding="utf-8"))
CHART = FACTS["clients"]["growth-chart"]
LAB = FACTS["clients"]["lab-sync"]
REDIRECT = CHART["redirect_uris"][0]
SCOPE = "openid fhirUser launch/patient offline_access patient/*.rs"
METADATA = requests.get(FACTS["fhir"] + "/.well-known/smart-configuration", timeout=20).json()


def claims_of(id_token: str) -> dict:
    """The id_token's claims, when its signature and they themselves hold."""
    keys = KeySet.import_key_set(requests.get(METADATA["jwks_uri"], timeout=20).json())
    token = jwt.decode(id_token, keys, algorithms=["RS256"])
    wanted = {"iss": {"essential": True, "value": METADATA["issuer"]}, "aud": {"essential": True, "value": CHART["client_id"]}}
    jwt.JWTClaimsRegistry(**wanted, exp={"essential": True}, iat={"essential": True}).validate(token.claims)
    return token.claims


def read(session: OAuth2Session, path: str) -> requests.Response:
    return session.get(f"{FACTS['fhir']}/{path}", timeout=20)


class StandaloneLaunch(unittest.TestCase):
    def open(self, state_on_callback: str | None = None) -> tuple[OAuth2Session, dict, str]:
        session = OAuth2Session(
            CHART["client_id"], scope=SCOPE, redirect_uri=REDIRECT, code_challenge_method="S256", token_endpoint_auth_method="none", token_endpoint=METADATA["token_endpoint"]
        )
        verifier, nonce = generate_token(48), generate_token(20)
        url, state = session.create_authorization_url(METADATA["authorization_endpoint"], code_verifier=verifier, aud=FACTS["fhir"], nonce=nonce)
        callback = Browser().go_until(url, REDIRECT)
        token = session.fetch_token(METADATA["token_endpoint"], authorization_response=callback, code_verifier=verifier, state=state_on_callback or state)
        return session, token, nonce

    def test_the_code_flow_gives_a_patient_and_an_id_token_that_holds(self) -> None:
        session, token, nonce = self.open()
        self.assertEqual(token["token_type"], "Bearer")
        claims = claims_of(token["id_token"])
        self.assertEqual(claims["nonce"], nonce)
        self.assertTrue(claims["fhirUser"].startswith("Practitioner/"))
        patient = read(session, f"Patient/{token['patient']}")
        self.assertEqual((patient.status_code, patient.json()["id"]), (200, token["patient"]))
        conditions = read(session, f"Condition?patient={token['patient']}")
        self.assertEqual(conditions.json()["resourceType"], "Bundle")
        self.assertEqual(set(SCOPE.split()), set(token["scope"].split()))

    def test_refresh_rotates_and_the_old_token_gives_the_same_successor_for_a_while(self) -> None:
        session, token, _ = self.open()
        first = token["refresh_token"]
        fresh = session.refresh_token(METADATA["token_endpoint"], refresh_token=first)
        self.assertNotEqual(fresh["refresh_token"], first)
        self.assertEqual(read(session, f"Patient/{token['patient']}").status_code, 200)
        again = session.refresh_token(METADATA["token_endpoint"], refresh_token=first)
        self.assertEqual(again["refresh_token"], fresh["refresh_token"], "a second tab within the grace")
        successor = session.refresh_token(METADATA["token_endpoint"], refresh_token=fresh["refresh_token"])
        self.assertNotEqual(successor["refresh_token"], fresh["refresh_token"])

    def test_a_refresh_token_from_long_ago_ends_the_grant(self) -> None:
        session, token, _ = self.open()
        first = token["refresh_token"]
        second = session.refresh_token(METADATA["token_endpoint"], refresh_token=first)["refresh_token"]
        self.addCleanup(set_clock, 0)
        set_clock(31)
        with self.assertRaises(OAuthError) as refused:
            session.refresh_token(METADATA["token_endpoint"], refresh_token=first)
        self.assertEqual(refused.exception.error, "invalid_grant")
        with self.assertRaises(OAuthError) as ended:
            session.refresh_token(METADATA["token_endpoint"], refresh_token=second)
        self.assertEqual(ended.exception.error, "invalid_grant")
        self.assertEqual(read(session, f"Patient/{token['patient']}").status_code, 401)

    def test_an_answer_for_another_state_is_noticed_by_the_library(self) -> None:
        with self.assertRaises(Exception) as noticed:
            self.open(state_on_callback="another-state")
        self.assertIn("state", type(noticed.exception).__name__.lower() + str(noticed.exception).lower())

    def test_the_library_revokes(self) -> None:
        session, token, _ = self.open()
        answer = session.revoke_token(METADATA["revocation_endpoint"], token=token["refresh_token"], token_type_hint="refresh_token")
        self.assertEqual(answer.status_code, 200)
        with self.assertRaises(OAuthError) as refused:
            session.refresh_token(METADATA["token_endpoint"], refresh_token=token["refresh_token"])
        self.assertEqual(refused.exception.error, "invalid_grant")


class BackendService(unittest.TestCase):
    def session(self, audience: str, lives_s: int = 60) -> OAuth2Session:
        key, claims = LAB["private_jwk"], {"exp": int(time.time()) + lives_s}
        session = OAuth2Session(LAB["client_id"], ECKey.import_key(key), token_endpoint_auth_method="private_key_jwt", scope="system/Patient.rs")
        session.register_client_auth_method(PrivateKeyJWT(audience, claims, {"kid": key["kid"], "typ": "JWT"}, alg=key["alg"]))
        return session

    def test_an_assertion_for_the_token_endpoint_or_the_issuer_is_taken(self) -> None:
        for audience in (METADATA["token_endpoint"], METADATA["issuer"]):
            with self.subTest(audience):
                session = self.session(audience)
                token = session.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials")
                self.assertEqual((token["scope"], token["token_type"]), ("system/Patient.rs", "Bearer"))
                self.assertNotIn("refresh_token", token)
                self.assertEqual(read(session, "Patient?_count=3").status_code, 200)
                self.assertIn(read(session, "Condition?_count=1").status_code, (401, 403))

    def test_an_assertion_for_somebody_else_is_refused(self) -> None:
        with self.assertRaises(OAuthError) as refused:
            self.session("https://elsewhere.example/token").fetch_token(METADATA["token_endpoint"], grant_type="client_credentials")
        self.assertEqual(refused.exception.error, "invalid_client")

    def test_an_assertion_for_more_than_five_minutes_is_refused(self) -> None:
        # An hour is what the library writes by itself. SMART 2.2, authentication JWT claims: no more than five minutes.
        with self.assertRaises(OAuthError) as refused:
            self.session(METADATA["token_endpoint"], lives_s=3600).fetch_token(METADATA["token_endpoint"], grant_type="client_credentials")
        self.assertEqual(refused.exception.error, "invalid_client")


def set_clock(offset_s: int) -> None:
    """Moves the whole demo to `offset_s` seconds after the machine's time."""
    headers = {"authorization": f"Bearer {FACTS['ops_token']}"}
    answer = requests.put(f"{FACTS['ops']}/test/clock", json={"offset_s": offset_s}, headers=headers, timeout=20)
    assert answer.ok, answer.status_code


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
