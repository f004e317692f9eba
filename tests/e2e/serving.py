"""A server of the page in a process of its own, and talk to it without a browser."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

COMMAND = [sys.executable, "-m", "physgrad", "explore", "--no-browser"]


class Explorer:
    """A running `physgrad explore`."""

    def __init__(self, process: subprocess.Popen[str], url: str, stderr: IO[str]):
        self.process, self.url, self.stderr = process, url, stderr
        self.port = int(url.rstrip("/").rpartition(":")[2])

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; the path goes out as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Host": f"127.0.0.1:{self.port}"} | dict(headers or {})
        connection.putrequest(method, path, skip_host=True)
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def end(self, number: int) -> tuple[int, str]:
        """Interrupt it; exit code and what it said on stderr."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode, _told(self.stderr)


@contextmanager
def serving(*arguments: str) -> Iterator[Explorer]:
    """`physgrad explore` on a free port, until the block is left."""
    # a file, not a pipe: Bokeh tells at length of pages that are left while they load,
    # and a pipe that nobody reads is full one day, whereupon the server stands still
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "http://" not in line:
                process.communicate(timeout=60)
                raise RuntimeError(f"the page was not served: {line}{_told(stderr)}")
            yield Explorer(process, line.split()[1], stderr)
        finally:
            process.kill()
            process.communicate()


def _told(stderr: IO[str]) -> str:
    stderr.seek(0)
    return stderr.read()
