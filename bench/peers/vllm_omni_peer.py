# SPDX-License-Identifier: Apache-2.0
"""The real SharedMemoryConnector of vllm-omni 0.30.0, with torch and vllm replaced by stubs; it runs in the environment of tests/python/setup.sh.

The object is bytes. A pipe wakes the consumer after the put, which is kinder than the stages' own look once a millisecond.
"""
import pathlib
import sys
from multiprocessing import resource_tracker

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "python"))
import peer_env
from vllm_omni.distributed.omni_connectors import ConnectorSpec, OmniConnectorFactory

import pair

resource_tracker.register = resource_tracker.unregister = lambda name, kind: None  # as the stages that unlink each other's segments need it


class VllmOmni:
    about = f"vllm-omni {peer_env.VERSION}, SharedMemoryConnector, torch replaced by a stub"

    def __init__(self, end):
        self.end = end
        self.connector = OmniConnectorFactory.create_connector(ConnectorSpec(name="SharedMemoryConnector", extra={}))

    def name(self, key):
        return f"{self.end.space}-{key}"  # keys are names of segments

    def put(self, key, payload):
        done, _, _ = self.connector.put("0", "1", self.name(key), payload.raw)
        if not done:
            raise RuntimeError("put failed")
        self.end.ring()

    def get(self, key, size):
        self.end.wait_for_ring()
        got = self.connector.get("0", "1", self.name(key))
        if got is None:
            raise RuntimeError("get found nothing")
        return got[0]

    def clean(self):
        """get has removed it."""

    def close(self):
        self.connector.close()


pair.run(VllmOmni)
