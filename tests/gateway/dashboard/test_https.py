"""The dashboard with the certificate of its own authority, in a browser that trusts it: what browsers offer
on encrypted pages only."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from gateway.capabilities.safety.pages.settings import RingingPhones
from gateway.capabilities.safety.phones import Phones
from gateway.model import Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page, browsing, fill
from tests.gateway.capabilities.safety.pages.test_phones import ENDPOINT, SERVICE, SUBSCRIBED
from tests.gateway.dashboard_fixtures import House, Served

NAME = "linli.test"
PASSWORD = "quiet river 42"


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    house.furnish()
    house.configure("safety", ringing=RingingPhones(SERVICE, frozenset({"王芳"})))
    people = {"王芳": Person(Role.MANAGER, hash_password(PASSWORD))}
    write_people(people_file(house.settings.access), people)
    served = Served(msgspec.structs.replace(house.settings, local_ca=True))
    yield served
    served.end()


@pytest.fixture
def phone(served: Served, tmp_path: Path) -> Iterator[Page]:
    """A phone whose owner trusts the authority, and knows the gateway by a name."""
    certificate = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", served.port)))
    key = load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    trusted = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    options = (
        f"--ignore-certificate-errors-spki-list={trusted}",
        f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
    )
    with browsing(tmp_path / "phone", (390, 844), *options) as driver:
        authenticator = VirtualAuthenticatorOptions()
        authenticator.transport = VirtualAuthenticatorOptions.Transport.INTERNAL
        authenticator.has_resident_key = authenticator.has_user_verification = True
        authenticator.is_user_verified = True
        driver.add_virtual_authenticator(authenticator)
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SUBSCRIBED})
        page = Page(driver, f"https://{NAME}:{served.port}")
        allowed = {"origin": page.url, "permissions": ["notifications"]}
        driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
        yield page


def test_passkeys_push_and_the_app_work_with_the_own_certificate(
    house: House, served: Served, phone: Page
) -> None:
    driver = phone.driver
    driver.get(f"{phone.url}/account")
    assert driver.execute_script("return isSecureContext")
    fill(phone, "form", name="王芳", key=PASSWORD)
    phone.until(lambda: phone.has("#passkey-form"))
    assert all(each["secure"] for each in driver.get_cookies() if each["name"] != "lang")
    fill(phone, "#passkey-form", name="我的手机", secret=PASSWORD)
    phone.shows("我的手机", ".session")
    kept = json.loads(house.settings.access.with_name("access.key.passkeys").read_bytes())
    assert [(each["person"], each["host"]) for each in kept] == [("王芳", NAME)]
    phone.click('footer form[action="/logout"] button')
    phone.until(lambda: phone.has("#key"))
    driver.get(f"{phone.url}/phones")
    phone.click("[data-passkey]")
    phone.shows("本机还不会响铃")
    ready = "return navigator.serviceWorker.ready.then((each) => each.active.state)"
    phone.until(lambda: driver.execute_script(ready) == "activated")
    phone.click("#ring")
    phone.shows("本机会响铃")
    [subscription] = Phones(house.settings.access).of("王芳")
    assert subscription.endpoint == ENDPOINT
    driver.get(phone.url)
    phone.shows("没有报警")
    served.end()
    driver.get(f"{phone.url}/safety")
    phone.shows("连不上网关")
