"""Schemathesis asks the running server what the OpenAPI documents say it takes, and holds its answers to them.

Usage: openapi_client.py FACTS.json MORE-CLIENTS.json
"""

import json
import sys
import unittest

import hypothesis
import prometheus_client.openmetrics.parser as openmetrics
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi

FACTS = json.load(open(sys.argv[1], encoding="utf-8"))
EXAMPLES = 10
SETTINGS = hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck))
# What is checked of every answer. That what is right by its form is taken is left out: whether an app or a patient exists is no matter of form.
CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
    openapi.negative_data_rejection,
    openapi.unsupported_method,
    openapi.missing_required_header,
]


def launch_token() -> str:
    secret = FACTS["clients"]["epj"]["client_secret"]
    form = {"grant_type": "client_credentials", "scope": "launch:create"}
    return requests.post(f"{FACTS['issuer']}/token", data=form, auth=("epj", secret), timeout=20).json()["access_token"]


class Documents(unittest.TestCase):
    def hold(self, url: str, base: str, token: str, left_out: tuple[str, ...] = ()) -> None:
        """Every operation of a document, with data that fits and data that does not."""
        document = requests.get(url, timeout=20)
        self.assertEqual(document.headers["content-type"], "application/json")
        schema = schemathesis.openapi.from_dict(document.json())
        schema.config.update(base_url=base, headers={"authorization": f"Bearer {token}"})
        counted = 0
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path in left_out:
                continue
            for mode in schemathesis.GenerationMode:
                counted += self.ask(operation, mode)
            if operation.definition.raw.get("security") != []:
                self.refused(operation, base)
        self.assertGreater(counted, 20)
        print(f"{counted} requests after {url}", file=sys.stderr)

    def refused(self, operation, base: str) -> None:
        """Without a token, and with another's: the right one is in every other request, so the library cannot tell."""
        for headers in ({}, {"authorization": "Bearer another"}):
            answer = requests.request(operation.method, base + operation.path, headers=headers, timeout=20)
            with self.subTest(operation=operation.label, headers=headers):
                self.assertEqual(answer.status_code, 401)
                operation.validate_response(answer)

    def ask(self, operation, mode) -> int:
        counted = 0

        @SETTINGS
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def examples(case) -> None:
            nonlocal counted
            counted += 1
            with self.subTest(operation=operation.label, mode=mode):
                case.call_and_validate(checks=CHECKS, timeout=20)

        try:
            examples()
        except hypothesis.errors.Unsatisfiable:
            # Nothing of an operation without parameters can be wrong.
            pass
        return counted

    def test_the_launch_api_does_what_its_document_says(self) -> None:
        self.hold(f"{FACTS['issuer']}/launches/openapi.json", FACTS["issuer"], launch_token())

    def test_the_operations_listener_does_what_its_document_says(self) -> None:
        # The signing keys are left as they are, so that the other test can go on; a key takes seconds to make.
        self.hold(f"{FACTS['ops']}/openapi.json", FACTS["ops"], FACTS["ops_token"], left_out=("/keys/rotate", "/keys/{kid}/revoke"))

    def test_the_first_launch_of_the_document_can_be_made(self) -> None:
        ready = FACTS["patients"][0]
        body = {"client_id": "syk-inn", "patient": ready["patient"], "encounter": ready["encounter"], "fhir_user": ready["fhir_user"], "session": "a-session"}
        schema = schemathesis.openapi.from_url(f"{FACTS['issuer']}/launches/openapi.json")
        made = schema["/launches"]["POST"].Case(body=body, media_type="application/json", headers={"authorization": f"Bearer {launch_token()}"})
        self.assertEqual(made.call_and_validate(checks=CHECKS, timeout=20).status_code, 201)
        ended = schema["/launches/end-session"]["POST"].Case(body={"session": "a-session"}, media_type="application/json", headers={"authorization": f"Bearer {launch_token()}"})
        self.assertEqual(ended.call_and_validate(checks=CHECKS, timeout=20).status_code, 204)

    def test_prometheus_reads_the_metrics(self) -> None:
        launch_token()
        answer = requests.get(f"{FACTS['ops']}/metrics", headers={"authorization": f"Bearer {FACTS['ops_token']}"}, timeout=20)
        families = {family.name: family for family in openmetrics.text_string_to_metric_families(answer.text)}
        self.assertGreaterEqual(len(families), 25)
        tokens = families["helsebro_tokens_issued"]
        self.assertEqual(tokens.type, "counter")
        self.assertTrue(any(sample.labels.get("client") == "epj" and sample.value >= 1 for sample in tokens.samples))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
