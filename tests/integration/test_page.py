"""The page at ``/docs``, in Chromium: what it shows, how it is used, and what it never does."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from handler.docs import FILES
from handler.testing import free_port, wait_for_port
from tests.processes import ROOT, running

pytestmark = pytest.mark.integration
TOKEN = "a-token-of-the-page"
# For people to look at; continuous integration may keep them.
SHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / ".screenshots"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        give_up = pytest.fail if os.environ.get("REQUIRE_CONTAINER") else pytest.skip
        give_up("tests of the page: there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "handler.cli", "serve", f"--bind=127.0.0.1:{port}"]
    log = tmp_path_factory.mktemp("page") / "log"
    environment = {"INFERNET_BEARER_TOKENS": TOKEN, "INFERNET_LOAD": "init"}
    with running(command, log, environment):
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page at ``/docs``, seen to ask nobody but the service and to break no policy."""
    context = browser.new_context(base_url=url, permissions=["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        # The browser's own note of an answer that is an error is no fault of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    asked: list[str] = []
    opened.on("console", complain)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto("/docs")
    yield opened
    assert complaints == []
    assert asked and all(address.startswith(url) for address in asked)
    context.close()


def predict(page: Page, values: str, token: str = TOKEN) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_label("Values").fill(values)
    page.get_by_role("button", name="Predict").click()


def test_the_state_is_for_those_who_have_a_token(page: Page) -> None:
    state = page.locator("#state")
    expect(state).to_contain_text("ready")
    expect(state).not_to_contain_text("sha256")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_label("Token").blur()
    expect(state).to_contain_text("TorchInferenceWorkflow")
    expect(state).to_contain_text("sha256=")


@pytest.mark.parametrize(
    "values", ["5.1, 3.5, 1.4, 0.2", "5.1\t3.5\t1.4\t0.2", "[[5.1, 3.5, 1.4, 0.2]]"]
)
def test_an_answer_in_full(page: Page, url: str, values: str) -> None:
    predict(page, values)
    expect(page.get_by_role("heading", name="Answer")).to_be_focused()
    body: Any = {"source": 1, "data": {"dtype": "double", "values": [[5.1, 3.5, 1.4, 0.2]]}}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(f"{url}/service_output", json=body, headers=headers).json()
    cells = page.locator("#table td").all_text_contents()
    assert [float(cell) for cell in cells] == answer["values"][0]
    assert page.locator("#bars meter").count() == len(cells), "they are probabilities"
    expect(page.locator("#timings")).to_contain_text("inference")
    curl = page.locator("#curl").text_content() or ""
    assert f"{url}/service_output" in curl and TOKEN not in curl and "5.1" in curl
    assert json.loads(curl.partition("-d '")[2].rstrip("'")) == body
    page.screenshot(path=SHOTS / "answer.png", full_page=True)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("double", "5.1 3.5 1.4 0.2\n6.4 3.2 4.5 1.5"), ("double", "-0.0 NaN Infinity -1e308")],
)
def test_the_hex_that_is_copied_asks_and_answers_the_same_on_chain(
    page: Page, url: str, dtype: str, values: str
) -> None:
    predict(page, values)
    copied = []
    for name in ("Copy the request's hex", "Copy the answer's hex"):
        page.get_by_role("button", name=name).click()
        expect(page.locator("#copied")).to_have_text("Copied.")
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    request, answer = copied
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"source": 0, "data": request}
    found = httpx.post(f"{url}/service_output", json=body, headers=headers).json()
    assert found["raw_output"] == answer and bytes.fromhex(answer)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float", [[5.1, -3.5e-40, 1.4, 0.2]]),
        ("long", [[-(2**53), 3, 1, 0]]),
        ("uint8", [[255, 0, 1, 2]]),
        ("bool", [[True, False, True, True]]),
        ("short", [[-32768, 32767, 0, 1]]),
    ],
)
def test_the_page_encodes_as_the_contract_does(page: Page, dtype: str, values: Any) -> None:
    from handler import formats, protocol, tensors

    script = (
        "async ([dtype, shape, flat]) => "
        "(await import('/docs/abi.js')).encodeRequest(dtype, shape, flat)"
    )
    encoded = page.evaluate(script, [dtype, [1, 4], values[0]])
    _, call = formats.read(protocol.InfernetInput(0, encoded))
    found, expected = tensors.parse(call.data), tensors.parse({"dtype": dtype, "values": values})
    assert found.dtype == expected.dtype and (found.array == expected.array).all()


@pytest.mark.parametrize(
    ("values", "token", "message"),
    [
        ("1, 2", TOKEN, "the model refuses it"),
        ("1, two", TOKEN, '"two" is no number'),
        ("[[1, 2", TOKEN, "the values cannot be read"),
        ("5.1, 3.5, 1.4, 0.2", "not-the-token", "Authorization: Bearer"),
    ],
)
def test_an_error_says_what_to_change(page: Page, values: str, token: str, message: str) -> None:
    predict(page, values, token)
    expect(page.get_by_role("alert")).to_contain_text(message)
    expect(page.locator("#answer")).to_be_hidden()
    page.screenshot(path=SHOTS / "error.png", full_page=True)


def test_the_keyboard_is_enough(page: Page) -> None:
    page.get_by_role("link", name="OpenAPI").focus()
    for text in (TOKEN, None, None):
        page.keyboard.press("Tab")
        if text:
            page.keyboard.type(text)
    page.keyboard.press("Control+a")
    page.keyboard.type("5.1 3.5 1.4 0.2")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Answer")).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.copy") == "hex-answer":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("Copied.")


def test_what_the_model_takes_fills_the_form(page: Page) -> None:
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="What the model takes").click()
    expect(page.get_by_label("Values")).to_have_value("[[0,0,0,0]]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(browser: Browser, url: str, scheme: Any) -> None:
    context = browser.new_context(
        base_url=url, viewport={"width": 360, "height": 740}, color_scheme=scheme
    )
    page = context.new_page()
    page.goto("/docs")
    predict(page, "5.1, 3.5, 1.4, 0.2")
    expect(page.get_by_role("heading", name="Answer")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    page.screenshot(path=SHOTS / f"phone-{scheme}.png", full_page=True)
    context.close()


@pytest.mark.parametrize("path", FILES)
def test_nothing_comes_from_elsewhere_and_nothing_is_inline(url: str, path: str) -> None:
    response = httpx.get(f"{url}{path}")
    policy = response.headers["content-security-policy"]
    assert response.status_code == 200 and "default-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert "://" not in response.text.replace("http://www.w3.org", "")
    assert "<script>" not in response.text and " style=" not in response.text
