"""The page's server: who may ask, for what, how much; how it starts and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from serving import COMMAND, serving

import physgrad as pg
from physgrad.explorer.settings import Settings
from physgrad.explorer.study import study

QUERY = Settings(start=(2.0, -1.5), steps=4).query()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_answered(explorer, host):
    status, headers, body = explorer.get("/", {"Host": f"{host}:{explorer.port}"})
    assert status == 200 and b"physgrad explorer" in body
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert b"http://" not in body and b"https://" not in body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "",
        "localhost.",
    ],
)
@pytest.mark.parametrize("path", ["/", "/static/js/bokeh.min.js", "/export/run.py"])
def test_a_foreign_host_is_refused(explorer, host, path):
    host = host.format(port=explorer.port)
    assert explorer.get(path, {"Host": host})[0] in (400, 403)


def test_a_foreign_origin_is_refused(explorer):
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{explorer.port}"):
        assert explorer.get("/", {"Origin": origin})[0] == 403


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", None])
def test_a_socket_of_a_foreign_page_is_refused(explorer, origin):
    given = UPGRADE if origin is None else UPGRADE | {"Origin": origin}
    assert explorer.get("/ws", given)[0] == 403
    rebound = UPGRADE | {"Origin": explorer.url.rstrip("/"), "Host": "evil.example"}
    assert explorer.get("/ws", rebound)[0] == 403


def test_a_socket_of_its_own_page_is_opened(explorer):
    with socket.create_connection(("127.0.0.1", explorer.port), timeout=60) as wire:
        lines = [f"Host: 127.0.0.1:{explorer.port}", f"Origin: {explorer.url[:-1]}"]
        lines += [f"{name}: {value}" for name, value in UPGRADE.items()]
        wire.sendall(
            ("GET /ws HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()
        )
        assert wire.recv(100).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/%2e%2e%2fetc/passwd", "/..\\..\\etc", "//etc/passwd"),
        *("/static/js/../../../server/server.py", "/static/js/%2e%2e/server.py"),
        *("/static/js/a%00b", "/export/../run.py", "/export/other.png", "/autoload.js"),
        *("/metadata", "/static/extensions/x.js", "/favicon.ico"),
    ],
)
def test_nothing_else_is_served(explorer, path):
    assert explorer.get(path)[0] == 404


def test_it_takes_no_large_requests_and_no_posts(explorer):
    assert explorer.get("/", {"Content-Length": "0"}, method="POST")[0] == 405
    for path, size in ((f"/?z={'x' * 40_000}", 0), ("/", 1 << 30)):
        length = {"Content-Length": str(size)}
        try:
            status = explorer.get(path, length, method="POST")[0]
        except ConnectionError:  # it hung up, which is an answer, too
            status = 413
        assert status in (400, 413)
    assert explorer.get(f"/export/run.py?{QUERY}")[0] == 200


def test_what_is_exported_is_what_is_shown(explorer):
    status, headers, body = explorer.get(f"/export/results.json?{QUERY}")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert "physgrad-results.json" in headers["Content-Disposition"]
    document = json.loads(body)
    shown = study(Settings(start=(2.0, -1.5), steps=4))
    assert list(document["runs"]) == list(shown.runs)
    for name, run in shown.runs.items():
        found = document["runs"][name]["spaces"]["x"]
        np.testing.assert_allclose(np.asarray(found), run.trajectory["x"], rtol=1e-5)
    png = explorer.get(f"/export/x.png?{QUERY}")[2]
    assert png.startswith(b"\x89PNG")
    svg = ElementTree.fromstring(explorer.get(f"/export/z.svg?{QUERY}")[2])
    assert svg.tag.endswith("svg")
    program = explorer.get(f"/export/run.py?{QUERY}")[2].decode()
    ran: dict = {}
    exec(compile(program, "run.py", "exec"), ran)
    assert isinstance(ran["comparison"], pg.Comparison)
    np.testing.assert_allclose(ran["comparison"]["pg"].x, shown["pg"].x, rtol=1e-5)


@pytest.mark.parametrize(
    ("query", "words"),
    [("steps=999999999999", "from 1 to 1000"), ("z=x0.real&loss=z0", "column")],
)
def test_a_state_that_is_none_is_said(explorer, query, words):
    status, headers, body = explorer.get(f"/export/x.png?{query}")
    assert status == 400 and words in body.decode()
    assert headers["Content-Type"].startswith("text/plain")


def test_a_port_in_use_is_exit_3():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "--port", port], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 3
    assert port in done.stderr and "--port 0" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_objective_of_the_users_is_shown_and_an_interrupt_ends_it(number, tmp_path):
    model = tmp_path / "model.py"
    model.write_text(
        "import jax.numpy as jnp, physgrad as pg\n"
        "objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8.0)**2))\n"
    )
    with serving(f"{model}:objective", "--start", "1,3", "--port", "0") as server:
        with socket.create_connection(("127.0.0.1", server.port)):
            pass
        assert server.get("/")[0] == 200
        code, said = server.end(number)
    assert (code, said) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tox"], "did you mean 'toy'"),
        (["toy", "--start", "1"], "2 finite numbers"),
        (["toy", "--port", "99999"], "port"),
        (["json:dumps"], "must be a Problem or an Objective"),
    ],
)
def test_wrong_use_is_exit_2(arguments, words):
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and words in done.stderr
