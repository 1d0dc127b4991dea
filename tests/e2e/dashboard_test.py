#!/usr/bin/env python3
"""What a browser meets: the page, signing in, the stream of events, settings, keys and logs. One real node."""
import http.client
import json
import os
import subprocess

from lib import PATIENCE, ROOT, cluster, main, restarted


class Browser:
    """Keeps its cookies, and says in Origin whose page asks."""

    def __init__(self, port):
        self.port, self.cookie = port, ""
        self.origin = f"http://localhost:{port}"

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)
        sent = {"Origin": self.origin, "Cookie": self.cookie} if self.cookie else {"Origin": self.origin}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if cookie := answer.headers["Set-Cookie"]:
            self.cookie = cookie.partition(";")[0]
        return answer, text

    def json(self, method, path, body=None, status=200, **headers):
        answer, text = self.ask(method, path, body, **headers)
        assert answer.status == status, (path, answer.status, text)
        return json.loads(text)

    def events(self, last=None):
        """Yields (id, event, data); the id of states is None."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)
        sent = {"Cookie": self.cookie} | ({} if last is None else {"Last-Event-ID": str(last)})
        connection.request("GET", "/v1/internal/events", headers=sent)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        fields = {}
        try:
            for line in answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                else:
                    if "data" in fields:
                        yield fields.get("id"), fields["event"], json.loads(fields["data"])
                    fields = {}
        finally:
            connection.close()


def command(exo, node, *arguments):
    return subprocess.run([exo, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=True,
                          env={**os.environ, "EXO_HOME": str(node.home), "NO_COLOR": "1", "DISPLAY": ":1"})


def sign_in(exo, node):
    """By the link that a command of this machine shows; it works once."""
    browser = Browser(node.api.port)
    link = command(exo, node, "dashboard", "--print").stdout.strip()
    address, _, token = link.partition("/#/open/")
    assert address == browser.origin, link
    browser.json("POST", "/v1/session", {"token": token})
    again = Browser(node.api.port).json("POST", "/v1/session", {"token": token}, status=401)
    assert again["error"]["code"] == "invalid_token", again
    return browser


def check_page(browser):
    if not (ROOT / "web" / "dist").is_dir():
        answer, text = browser.ask("GET", "/", Accept="text/html")
        assert answer.status == 404 and b"web/dist" in text, (answer.status, text)
        return
    answer, page = browser.ask("GET", "/", Accept="text/html", Accept_Encoding="br")
    assert answer.status == 200 and answer.headers["Content-Encoding"] == "br", (answer.status, answer.headers)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';") and "frame-ancestors 'none'" in policy, policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cache-Control"] == "no-cache"
    known = {"Accept": "text/html", "Accept_Encoding": "br", "If_None_Match": answer.headers["ETag"]}
    assert browser.ask("GET", "/", **known)[0].status == 304
    answer, plain = browser.ask("GET", "/", Accept="text/html")
    assert b"<html" in plain and len(plain) > len(page) and answer.headers["Content-Encoding"] is None
    assert browser.ask("GET", "/")[1] == b"Ollama is running"


def check_events(browser):
    stream = browser.events()
    number, kind, data = next(stream)
    assert kind == "resync" and int(number) == data["sequence"], (number, kind, data)
    states = {}
    # A node that has just started has not looked at its files yet.
    while not ({"cluster", "telemetry", "pulls"} <= states.keys() and states.get("models", {}).get("data")):
        number, kind, data = next(stream)
        assert number is None or kind in ("peer", "instance", "request"), (number, kind)
        states[kind] = data
    assert states["cluster"]["nodes"][0]["name"] == "n1", states["cluster"]
    assert states["telemetry"]["devices"][0]["memory_total"] > 0, states["telemetry"]
    assert any(model["id"] == "exo-tiny" for model in states["models"]["data"]), states["models"]
    browser.json("POST", "/v1/completions", {"model": "exo-tiny", "prompt": "Once", "max_tokens": 3})
    last = next(number for number, kind, data in stream if kind == "request" and data["state"] == "started")
    stream.close()
    # It goes on where it was, and the model's new state is news.
    again = browser.events(last)
    assert next(again)[0] == str(int(last) + 1)
    assert any(kind == "cluster" and data["instances"] for _, kind, data in again)
    again.close()
    return int(last)


def check_events_after_restart(browser, last):
    """The page's EventSource asks behind an event of the former run: it is told so, and gets every state anew."""
    stream = browser.events(last)
    number, kind, data = next(stream)
    assert kind == "missed" and int(number) == data["sequence"] > last, (number, kind, data)
    kinds = set()
    while not {"cluster", "telemetry", "models", "pulls", "requests"} <= kinds:
        kinds.add(next(stream)[1])
    stream.close()


def check_desk(browser, node):
    settings = browser.json("GET", "/v1/internal/settings")
    port = next(one for one in settings["data"] if one["name"] == "api_port")
    assert (port["origin"], port["value"], port["default"]) == ("flag", 0, 52415), port
    changed = browser.json("PATCH", "/v1/internal/settings", {"target_gap": 100, "api_port": 1})
    assert changed["restart"] and changed["hidden"] == [{"name": "api_port", "by": "--api-port"}], changed
    assert set((node.home / "exo.toml").read_text().splitlines()) == {"target_gap = 100", "api_port = 1"}
    bad = browser.json("PATCH", "/v1/internal/settings", {"target_gap": 0}, status=400)
    assert "1 to 60000" in bad["error"]["message"], bad
    key = browser.json("POST", "/v1/internal/keys", {"name": "phone"})["key"]
    phone = Browser(node.api.port)
    phone.json("POST", "/v1/session", {"key": key})
    assert phone.json("GET", "/v1/session")["name"] == "phone"
    assert phone.json("GET", "/v1/internal/keys", status=403)["error"]["code"] == "insufficient_scope"
    browser.json("DELETE", "/v1/internal/keys/phone")
    assert not phone.json("GET", "/v1/session")["signed_in"], "its key is gone"
    assert browser.json("GET", "/v1/internal/audit")["intact"]


def check_strangers(browser):
    """Pages of other ports of this machine get the browser's cookie sent, too."""
    trust = "/v1/internal/trust"
    assert browser.json("GET", trust)["devices"]
    assert browser.ask("GET", trust, Origin="http://127.0.0.1:1")[0].status == 403
    assert browser.ask("GET", trust, Sec_Fetch_Site="same-site")[0].status == 401
    assert browser.ask("GET", trust, Host="evil.example")[0].status == 403
    assert Browser(browser.port).ask("GET", trust)[0].status == 401


def test_a_browser_signs_in_and_stays_so(exo):
    with cluster(exo, 1) as nodes:
        node = nodes[0]
        browser = sign_in(exo, node)
        session = browser.json("GET", "/v1/session")
        assert session["signed_in"] and session["scopes"] == ["infer", "models", "admin"], session
        assert session["device"]["name"] == "n1" and session["local"], session
        check_page(browser)
        check_strangers(browser)
        last = check_events(browser)
        check_desk(browser, node)
        assert "/#/open/" not in node.log.read_text(), "a link is for terminals alone"
        node.stop()
        again = restarted(exo, node)
        try:
            browser.port = again.api.port
            browser.origin = f"http://localhost:{browser.port}"
            assert browser.json("GET", "/v1/session")["signed_in"], "restarts change nothing"
            check_events_after_restart(browser, last)
            browser.json("DELETE", "/v1/session")
            assert not browser.json("GET", "/v1/session")["signed_in"]
        finally:
            again.stop()


if __name__ == "__main__":
    main([test_a_browser_signs_in_and_stays_so])
