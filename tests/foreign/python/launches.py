"""Access tokens of the demo for clients that only speak FHIR. Usage of the scripts that take this in: SCRIPT.py FACTS.json"""

import json
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import ECKey

from browser import Browser

FACTS = json.load(open(sys.argv[1], encoding="utf-8"))
FIRST, SECOND = FACTS["patients"][:2]
METADATA = requests.get(FACTS["fhir"] + "/.well-known/smart-configuration", timeout=20).json()


def token(form: dict, auth: tuple[str, str] | None = None) -> dict:
    answer = requests.post(METADATA["token_endpoint"], data=form, auth=auth, timeout=20)
    assert answer.ok, answer.text
    return answer.json()


def secret_of(client_id: str) -> tuple[str, str]:
    client = FACTS["clients"][client_id]
    return client["client_id"], client["client_secret"]


def launch(client_id: str, scope: str, context: dict = FIRST) -> dict:
    """The token answer of an app that the EPJ launched for this patient and encounter."""
    epj = token({"grant_type": "client_credentials", "scope": "launch:create"}, secret_of("epj"))["access_token"]
    asked = {"client_id": client_id, **{name: context[name] for name in ("patient", "encounter", "fhir_user")}}
    made = requests.post(f"{FACTS['issuer']}/launches", json=asked, headers={"authorization": f"Bearer {epj}"}, timeout=20).json()
    browser = Browser()
    handle = parse_qs(urlsplit(browser.go_until(made["start_url"], made["launch_url"])).query)["launch"][0]
    client, verifier, state = FACTS["clients"][client_id], secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "scope": scope,
        "redirect_uri": client["redirect_uris"][0],
        "aud": FACTS["fhir"],
        "launch": handle,
        "state": state,
        "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    callback = browser.go_until(f"{METADATA['authorization_endpoint']}?{urlencode(parameters)}", parameters["redirect_uri"])
    came = parse_qs(urlsplit(callback).query)
    assert came["state"] == [state], callback
    form = {"grant_type": "authorization_code", "code": came["code"][0], "redirect_uri": parameters["redirect_uri"], "code_verifier": verifier}
    if "client_secret" in client:
        return token(form, secret_of(client_id))
    return token({**form, "client_id": client_id})


def backend(client_id: str, scope: str) -> str:
    """The access token of a service that proves itself with its key. RFC 7523 §2.2"""
    client, now = FACTS["clients"][client_id], int(time.time())
    key = client["private_jwk"]
    claims = {"iss": client_id, "sub": client_id, "aud": METADATA["token_endpoint"], "jti": secrets.token_urlsafe(16), "iat": now, "exp": now + 60}
    assertion = jwt.encode({"alg": key["alg"], "kid": key["kid"], "typ": "JWT"}, claims, ECKey.import_key(key), algorithms=[key["alg"]])
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return token({"grant_type": "client_credentials", "scope": scope, "client_assertion_type": kind, "client_assertion": assertion})["access_token"]
