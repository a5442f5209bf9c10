# SPDX-License-Identifier: Apache-2.0
"""NIXL with its UCX backend over shared memory: nothing is copied at a put, the consumer reads the producer's registered memory into its own.

A put sends key and address through a pipe, on which the consumer sleeps: NIXL's own notifications have to be polled for. Transfers are prepared once and posted again.
No thread of NIXL's makes progress, because it would spin, also while other peers are measured; the producer does so while it waits.
"""
import base64
import importlib.metadata
import os
import struct

os.environ["UCX_TLS"] = "shm,self"
os.environ.setdefault("NIXL_LOG_LEVEL", "error")

import numpy
from nixl_cu12._api import nixl_agent, nixl_agent_config

import pair

RING = struct.Struct("32sQ")


class Nixl:
    about = f"NIXL {importlib.metadata.version('nixl-cu12')}, UCX backend, UCX_TLS={os.environ['UCX_TLS']}, its Python API"

    def __init__(self, end):
        self.end, self.registered, self.transfers = end, {}, {}
        self.agent = nixl_agent(f"{end.space}-{'producer' if end.producing else 'consumer'}", nixl_agent_config(enable_prog_thread=False, backends=[]))
        # By default it wants to hear of failures, which UCX cannot over shared memory: it would send by TCP then, or refuse where there is none.
        self.agent.create_backend("UCX", {"ucx_error_handling_mode": "none"})

    def register(self, array):
        if array.nbytes not in self.registered:
            self.registered[array.nbytes] = array
            self.agent.register_memory([(array.ctypes.data, array.nbytes, 0, "")], "DRAM")
        return self.registered[array.nbytes]

    def prepare(self, payload, in_flight):
        self.register(payload.array)
        return base64.b64encode(self.agent.get_agent_metadata()).decode()

    def expect(self, size, in_flight, note):
        if size not in self.registered:
            self.producer = self.agent.add_remote_agent(base64.b64decode(note))
            self.register(numpy.ones(size, numpy.uint8))  # touched, and not yet the payload

    def put(self, key, payload):
        self.end.ring(RING.pack(key.encode(), payload.address))

    def progress(self):
        self.agent.get_new_notifs()

    def get(self, key, size):
        sent, address = RING.unpack_from(self.end.wait_for_ring())
        assert sent.rstrip(b"\0").decode() == key
        target = self.registered[size]
        if (address, size) not in self.transfers:
            here, there = (self.agent.get_xfer_descs([(at, size, 0)], "DRAM") for at in (target.ctypes.data, address))
            self.transfers[address, size] = self.agent.initialize_xfer("READ", here, there, self.producer)
        transfer = self.transfers[address, size]
        state = self.agent.transfer(transfer)
        while state == "PROC":
            state = self.agent.check_xfer_state(transfer)
        if state != "DONE":
            raise RuntimeError(f"the transfer ended as {state}")
        return target

    def clean(self):
        pass


pair.run(Nixl)
