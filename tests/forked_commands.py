"""Start many commands cheaply: one process imports calque and its libraries, and forks for each command.

Importing takes seconds, and the documents have a hundred commands. `start` gives a program that behaves as Python
does with `-c CODE ARGUMENTS`: its streams, folder and variables are the caller's, and so is the exit code.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

# Runs without the site module, so that it starts in a few milliseconds.
CLIENT = """#!{python} -ISs
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    sys.exit(int(server.recv(16)))
"""
PRELOADED = "calque.api, calque.demo.demo, calque.cli.generate, calque.exchange.huggingface.folders"


@contextlib.contextmanager
def start(folder: Path) -> Iterator[Path]:
    """Give the path of the program, which answers while this context lasts."""
    address, client = folder / "socket", folder / "forked-python"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    code = f"import forked_commands, {PRELOADED}; forked_commands.serve({str(address)!r})"
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=os.environ | paths, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield client
        finally:
            server.terminate()


def serve(address: str) -> NoReturn:
    """Fork for each caller, for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            caller, _ = listener.accept()
            if os.fork() == 0:
                _answer(caller)
            caller.close()


def _answer(caller: socket.socket) -> NoReturn:
    """Run what one caller asks for in a child, and tell how it ended; this process ends too."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(caller, 8, 3)
    length, request = int.from_bytes(head, "big"), b""
    while len(request) < length:
        request += caller.recv(length - len(request))
    child = os.fork()
    if child == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os._exit(_run(*json.loads(request)))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        caller.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    """Do what `python -c CODE ARGUMENTS` does; return the exit code."""
    flag, code, *rest = arguments
    assert flag == "-c"
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *rest]
    sys.path[:0] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    names: dict[str, Any] = {"__name__": "__main__"}
    status = 0
    try:
        exec(code, names)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError, ValueError):
            stream.flush()
    return status
