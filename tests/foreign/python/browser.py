"""A browser as plain as one can be: cookies, redirects, and the first button of the first form."""

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests

HOPS = 20


class FirstForm(HTMLParser):
    """What pressing the first button of the first form sends."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: list[tuple[str, str]] = []
        self._state = "before"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and self._state == "before":
            self._state, self.action = "inside", found.get("action") or ""
        elif self._state == "inside" and tag == "input":
            choice = found.get("type") in ("radio", "checkbox")
            if found.get("name") and (not choice or "checked" in found):
                self.fields.append((found["name"], found.get("value") or ""))
        elif self._state == "inside" and tag == "button":
            self._state = "pressed"
            if found.get("name"):
                self.fields.append((found["name"], found.get("value") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._state == "inside":
            raise AssertionError("the first form has no button")


class Browser:
    def __init__(self) -> None:
        self.session = requests.Session()
        self.trail: list[str] = []

    def go_until(self, url: str, until: str) -> str:
        """Opens `url` and moves forward until an address under `until`; that one is returned, not requested."""
        fields: list[tuple[str, str]] | None = None
        for _ in range(HOPS):
            if url.startswith(until):
                return url
            response = self._send(url, fields)
            self.trail.append(f"{response.status_code} {urlsplit(url).path}")
            if response.is_redirect:
                url, fields = urljoin(url, response.headers["location"]), None
                continue
            assert response.ok, f"{self.trail}\n{response.text[:600]}"
            form = FirstForm()
            form.feed(response.text)
            assert form.action is not None, f"no form on the page: {self.trail}"
            url, fields = urljoin(url, form.action), form.fields
        raise AssertionError(f"still on the way after {HOPS} hops: {self.trail}")

    def _send(self, url: str, fields: list[tuple[str, str]] | None) -> requests.Response:
        if fields is None:
            return self.session.get(url, allow_redirects=False, timeout=20)
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        return self.session.post(url, data=fields, headers={"origin": origin}, allow_redirects=False, timeout=20)
