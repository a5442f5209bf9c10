# SPDX-License-Identifier: Apache-2.0
"""A Mooncake store of the wheel in requirements.txt: a master and a storage node on free ports of the loopback. They end with whoever started them.

Import it in the environment of setup.sh (interop_support.into_the_environment).
"""
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import mooncake

os.environ["MC_TCP_BIND_ADDRESS"] = "127.0.0.1"
PROGRAMS = pathlib.Path(list(mooncake.__path__)[0])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def somebody_listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def answer(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1) as reply:
            return reply.read().decode()
    except OSError:
        return ""


class MooncakeServer:
    """`master`: its HOST:PORT. `metadata`: what clients give as metadata_server. `node`: without one, clients bring memory themselves."""

    def __init__(self, folder, node=True, http_metadata=False):
        self.processes, self.folder = [], pathlib.Path(folder)
        for attempt in range(5):  # somebody else may take a port between our look and its use
            try:
                self.start_all(node, http_metadata)
                return
            except RuntimeError as why:
                self.stop()
                last = str(why)
        sys.exit(last)

    def start_all(self, node, http_metadata):
        port, self.admin, metadata = free_port(), free_port(), free_port()
        self.master, self.metadata = f"127.0.0.1:{port}", "P2PHANDSHAKE"
        options = f"--rpc_address=127.0.0.1 --rpc_port={port} --rpc_thread_num=2 --metrics_host=127.0.0.1 --metrics_port={self.admin} --enable_metric_reporting=false"
        if http_metadata:
            options += f" --enable_http_metadata_server=true --http_metadata_server_host=127.0.0.1 --http_metadata_server_port={metadata}"
            self.metadata = f"http://127.0.0.1:{metadata}/metadata"
        self.start("mooncake_master", options, lambda: '"service_ready":true' in answer(f"http://127.0.0.1:{self.admin}/health") and somebody_listens(port))  # it says so before it does
        if node:
            self.start("mooncake_client", f"--host=127.0.0.1 --port={free_port()} --metadata_server={self.metadata} --master_server_address={self.master} "
                       "--protocol=tcp --local_buffer_size=0 --global_segment_size=1GB", lambda: ":" in answer(f"http://127.0.0.1:{self.admin}/get_all_segments"))  # fmt: skip

    def start(self, program, options, ready):
        with open(self.folder / program, "w") as log:
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", PROGRAMS / program, *options.split()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        end = time.monotonic() + 30
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{program} does not start:\n{(self.folder / program).read_text()}")
            time.sleep(0.05)

    def keys(self):
        """Of all objects. Fails where the master does not say it."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{self.admin}/get_all_keys", timeout=5) as reply:
            return [key for key in reply.read().decode().split("\n") if key]

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.processes.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
