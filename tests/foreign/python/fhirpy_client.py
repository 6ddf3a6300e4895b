"""fhirpy against the demo: what a FHIR client of its own make reads, searches, pages through and writes; and fhir.resources, which reads all of
it into models. Usage: fhirpy_client.py FACTS.json"""

import importlib
import json
import sys
import unittest
from uuid import uuid4

import requests
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError, MultipleResourcesFound, OperationOutcome, ResourceNotFound

from launches import FACTS, FIRST, SECOND, backend, launch

PATIENT, ENCOUNTER = f"Patient/{FIRST['patient']}", f"Encounter/{FIRST['encounter']}"
IDENTIFIER = "https://app.example/maaling"


def client(access_token: str, **headers: str) -> SyncFHIRClient:
    """Headers are written with `_` for `-`."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return SyncFHIRClient(FACTS["fhir"], authorization=f"Bearer {access_token}", extra_headers=extra)


class Reading(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.fhir = client(launch("growth-chart", "launch openid fhirUser patient/*.rs")["access_token"])

    def test_a_resource_is_read_and_not_fetched_twice(self) -> None:
        patient = self.fhir.reference("Patient", FIRST["patient"]).to_resource()
        self.assertEqual((patient.resourceType, patient.id), ("Patient", FIRST["patient"]))
        self.assertTrue(patient["name"][0]["family"])
        before = dict(patient)
        # The library sends the version as If-None-Match, and keeps what it has at 304.
        self.assertEqual(dict(patient.refresh()), before)

    def test_what_is_another_patients_is_not_there(self) -> None:
        with self.assertRaises(ResourceNotFound) as refused:
            self.fhir.get("Patient", SECOND["patient"])
        outcome = json.loads(str(refused.exception))
        self.assertEqual((outcome["resourceType"], outcome["issue"][0]["code"]), ("OperationOutcome", "not-found"))
        self.assertEqual(self.fhir.resources("Condition").search(patient=SECOND["patient"]).fetch(), [])

    def test_a_search_by_get(self) -> None:
        conditions = self.fhir.resources("Condition").search(patient=FIRST["patient"], encounter=FIRST["encounter"]).fetch()
        self.assertTrue(conditions)
        for condition in conditions:
            self.assertEqual((condition.resourceType, condition["subject"]["reference"]), ("Condition", PATIENT))
        observations = self.fhir.resources("Observation").search(date__ge="2000-01-01").sort("-date", "_id")
        dates = [observation["effectiveDateTime"][:10] for observation in observations.fetch() if "effectiveDateTime" in observation]
        self.assertEqual(dates, sorted(dates, reverse=True))
        self.assertEqual(observations.count(), len(observations.fetch_all()))
        bundle = self.fhir.resources("Encounter").search(_id=FIRST["encounter"]).include("Encounter", "patient").fetch_raw()
        self.assertEqual([entry["search"]["mode"] for entry in bundle["entry"]], ["match", "include"])

    def test_a_search_by_post(self) -> None:
        headers = {"authorization": self.fhir.authorization, "accept": "application/fhir+json"}
        form = {"patient": FIRST["patient"], "_count": "2"}
        answer = requests.post(f"{FACTS['fhir']}/Observation/_search", data=form, headers=headers, timeout=20)
        self.assertEqual(answer.status_code, 200)
        by_get = self.fhir.resources("Observation").search(patient=FIRST["patient"]).limit(2).fetch()
        self.assertEqual([entry["resource"]["id"] for entry in answer.json()["entry"]], [resource.id for resource in by_get])
        # fhirpy would send parameters as JSON, which is no search.
        with self.assertRaises(OperationOutcome) as refused:
            self.fhir.resources("Observation").execute("_search", data=form)
        self.assertEqual(refused.exception.resource["issue"][0]["code"], "not-supported")

    def test_pages_hold_everything_once(self) -> None:
        everything = {resource.id for resource in self.fhir.resources("Observation").limit(200).fetch_all()}
        paged = [resource.id for resource in self.fhir.resources("Observation").limit(1).fetch_all()]
        self.assertGreater(len(paged), 2)
        self.assertEqual((len(paged), set(paged)), (len(everything), everything))

    def test_what_no_scope_covers_is_refused(self) -> None:
        with self.assertRaises(ForbiddenError) as refused:
            self.fhir.resource("Observation", status="final", code={"text": "x"}, subject={"reference": PATIENT}).save()
        self.assertEqual(json.loads(str(refused.exception))["issue"][0]["code"], "forbidden")


class Backend(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.fhir = client(backend("lab-sync", "system/*.rs"))

    def test_a_service_pages_through_all_patients(self) -> None:
        patients = self.fhir.resources("Patient")
        paged = [patient.id for patient in patients.limit(7).sort("family").fetch_all()]
        self.assertEqual((len(paged), len(set(paged))), (patients.count(), patients.count()))
        self.assertGreater(len(paged), 21)
        self.assertIn(SECOND["patient"], paged)

    def test_every_resource_is_one_to_the_models_of_somebody_else(self) -> None:
        metadata = self.fhir.execute("metadata", method="get")
        read = set()
        for offered in metadata["rest"][0]["resource"]:
            kind = offered["type"]
            if not any(interaction["code"] == "search-type" for interaction in offered["interaction"]) or kind == "AuditEvent":
                continue
            model = getattr(importlib.import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
            for resource in self.fhir.resources(kind).limit(200):
                with self.subTest(kind, id=resource.id):
                    model.model_validate(json.loads(json.dumps(resource.serialize())))
                    read.add(kind)
        self.assertGreater(len(read), 15)
        bundle = self.fhir.resources("Patient").limit(2).fetch_raw()
        searchset = importlib.import_module("fhir.resources.R4B.bundle").Bundle.model_validate(json.loads(json.dumps(bundle, default=dict)))
        self.assertEqual((searchset.type, len(searchset.entry)), ("searchset", 2))


class Writing(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.access_token = launch("nav-validator", "openid launch fhirUser patient/*.*")["access_token"]
        cls.fhir = client(cls.access_token)

    def observation(self, number: str, value: int = 70) -> dict:
        quantity = {"value": value, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
        identifier = [{"system": IDENTIFIER, "value": number}]
        return {"status": "preliminary", "code": {"text": "vekt"}, "subject": {"reference": PATIENT}, "valueQuantity": quantity, "identifier": identifier}

    def test_created_updated_and_deleted(self) -> None:
        made = self.fhir.resource("Observation", **self.observation(str(uuid4()))).save()
        self.assertEqual((made["meta"]["versionId"], made["valueQuantity"]["value"]), ("1", 70))
        made["valueQuantity"]["value"] = 71
        self.assertEqual(made.update()["meta"]["versionId"], "2")
        self.assertEqual(self.fhir.get("Observation", made.id)["valueQuantity"]["value"], 71)
        made.delete()
        for gone in (lambda: self.fhir.get("Observation", made.id), lambda: self.fhir.resources("Observation").search(_id=made.id).get()):
            with self.assertRaises(ResourceNotFound):
                gone()

    def test_created_once(self) -> None:
        number = str(uuid4())
        once = client(self.access_token, If_None_Exist=f"identifier={IDENTIFIER}|{number}")
        first = once.resource("Observation", **self.observation(number)).save()
        again = once.resource("Observation", **self.observation(number, 99)).save()
        self.assertEqual((again.id, again["valueQuantity"]["value"]), (first.id, 70))
        self.fhir.resource("Observation", **self.observation(number)).save()
        with self.assertRaises(MultipleResourcesFound) as refused:
            once.resource("Observation", **self.observation(number)).save()
        self.assertEqual(json.loads(str(refused.exception))["issue"][0]["code"], "multiple-matches")

    def test_updated_where_a_search_leads(self) -> None:
        number = str(uuid4())
        matches = self.fhir.resources("Observation").search(identifier=f"{IDENTIFIER}|{number}")
        for value, created in ((1, True), (2, False)):
            stored, was_created = matches.update(self.fhir.resource("Observation", **self.observation(number, value)))
            self.assertEqual((stored["valueQuantity"]["value"], was_created), (value, created))
        self.assertEqual(matches.get()["meta"]["versionId"], "2")

    def test_updated_only_where_nobody_else_did(self) -> None:
        made = self.fhir.resource("Observation", **self.observation(str(uuid4()))).save()
        knowing = client(self.access_token, If_Match=f'W/"{made["meta"]["versionId"]}"')
        body = {**self.observation(str(uuid4()), 72), "id": made.id}
        self.assertEqual(knowing.resource("Observation", **body).save()["meta"]["versionId"], "2")
        # The library takes every 412 for several matches; what came says what it was.
        with self.assertRaises(MultipleResourcesFound) as refused:
            knowing.resource("Observation", **body).save()
        self.assertEqual(json.loads(str(refused.exception))["issue"][0]["code"], "conflict")
        self.assertEqual(self.fhir.get("Observation", made.id)["meta"]["versionId"], "2")

    def test_scopes_say_what_is_written(self) -> None:
        scope = "openid launch fhirUser patient/DocumentReference.crus patient/Observation.rs"
        narrow = client(launch("nav-validator", scope)["access_token"])
        attachment = {"contentType": "application/pdf", "language": "NO-nb", "title": "t", "data": "JVBERi0xLjQK"}
        code = {"system": "urn:oid:2.16.578.1.12.4.1.1.9602", "code": "J01-2", "display": "Sykmeldinger og trygdesaker"}
        body = {"status": "current", "subject": {"reference": PATIENT}, "type": {"coding": [code]}, "content": [{"attachment": attachment}]}
        document = narrow.resource("DocumentReference", **body, id=str(uuid4()), context={"encounter": [{"reference": ENCOUNTER}]}).save()
        self.assertEqual(document["content"][0]["attachment"], attachment)
        with self.assertRaises(ForbiddenError):
            document.delete()
        self.assertEqual(narrow.get("DocumentReference", document.id)["status"], "current")

    def test_a_patch_is_not_offered_and_says_so(self) -> None:
        with self.assertRaises(OperationOutcome) as refused:
            self.fhir.reference("Patient", FIRST["patient"]).patch(active=False)
        self.assertEqual(refused.exception.resource["issue"][0]["code"], "not-supported")

    def test_what_is_wrong_is_told_with_its_place(self) -> None:
        with self.assertRaises(OperationOutcome) as refused:
            self.fhir.resource("Observation", **{**self.observation("x"), "status": "done"}).save()
        self.assertEqual(refused.exception.resource["issue"][0]["expression"], ["Observation.status"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
