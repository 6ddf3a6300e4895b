"""Authlib exchanges tokens (RFC 8693) as any other grant of its generic session. Usage: exchange_client.py FACTS.json MORE-CLIENTS.json"""

import json
import sys
import unittest

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
import requests

from launches import FACTS, FIRST, METADATA, launch, secret_of

FACTS["clients"].update(json.load(open(sys.argv[2], encoding="utf-8")))
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
SCOPE = "openid fhirUser launch patient/Patient.rs patient/Condition.rs patient/Encounter.rs"


def exchange(client_id: str, subject: str, **more: str) -> dict:
    name, secret = secret_of(client_id)
    session = OAuth2Session(name, secret, token_endpoint_auth_method=FACTS["clients"][client_id]["auth"])
    asked = {"subject_token": subject, "subject_token_type": ACCESS_TOKEN, "audience": FACTS["fhir"], **more}
    return session.fetch_token(METADATA["token_endpoint"], grant_type=EXCHANGE, **asked)


def introspected(token: str) -> dict:
    answer = requests.post(METADATA["introspection_endpoint"], data={"token": token}, auth=secret_of("fhir-server"), timeout=20)
    return answer.json()


def read(token: str, path: str) -> requests.Response:
    return requests.get(f"{FACTS['fhir']}/{path}", headers={"authorization": f"Bearer {token}"}, timeout=20)


class Exchange(unittest.TestCase):
    def setUp(self) -> None:
        self.first = launch("exchange-app", SCOPE)

    def test_the_metadata_offer_the_grant(self) -> None:
        self.assertIn(EXCHANGE, METADATA["grant_types_supported"])

    def test_an_app_makes_its_token_narrower(self) -> None:
        result = exchange("exchange-app", self.first["access_token"], scope="patient/Patient.r")
        # RFC 8693 §2.2.1
        self.assertEqual((result["issued_token_type"], result["token_type"], result["scope"]), (ACCESS_TOKEN, "Bearer", "patient/Patient.r"))
        self.assertNotIn("refresh_token", result)
        self.assertEqual(result["patient"], FIRST["patient"])
        self.assertLessEqual(result["expires_in"], 300)
        self.assertEqual(read(result["access_token"], f"Patient/{FIRST['patient']}").status_code, 200)
        self.assertEqual(read(result["access_token"], f"Condition?patient={FIRST['patient']}").status_code, 403)

    def test_a_service_acts_for_the_user_and_is_seen_to(self) -> None:
        result = exchange("exchange-service", self.first["access_token"], scope="patient/Condition.rs")
        told = introspected(result["access_token"])
        self.assertEqual((told["active"], told["client_id"], told["act"]["sub"]), (True, "exchange-service", "exchange-service"))
        self.assertEqual(told["sub"], introspected(self.first["access_token"])["sub"])
        self.assertEqual(read(result["access_token"], f"Condition?patient={FIRST['patient']}").status_code, 200)

    def test_what_may_not_be_is_an_error_the_library_knows(self) -> None:
        subject = self.first["access_token"]
        for error, caller, more in (
            ("invalid_target", "exchange-app", {"audience": "https://elsewhere.example"}),
            ("invalid_scope", "exchange-app", {"scope": "patient/Observation.rs"}),
            ("invalid_request", "exchange-app", {"patient": "pasient-02"}),
            ("invalid_request", "exchange-app", {"subject_token": subject + "x"}),
            ("invalid_request", "exchange-app", {"subject_token_type": ID_TOKEN}),
            ("invalid_request", "exchange-service", {"subject_token": launch("syk-inn", "launch patient/Patient.read")["access_token"]}),
            ("unauthorized_client", "extra-plain", {}),
        ):
            with self.subTest(error=error, caller=caller, more=sorted(more)), self.assertRaises(OAuthError) as refused:
                exchange(caller, subject, **more)
            self.assertEqual(refused.exception.error, error)

    def test_the_result_ends_with_its_subject(self) -> None:
        result = exchange("exchange-service", self.first["access_token"])["access_token"]
        self.assertTrue(introspected(result)["active"])
        ended = requests.post(METADATA["revocation_endpoint"], data={"token": self.first["access_token"]}, auth=secret_of("exchange-app"), timeout=20)
        self.assertEqual(ended.status_code, 200)
        self.assertEqual(introspected(result), {"active": False})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
