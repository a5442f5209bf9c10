# SPDX-License-Identifier: Apache-2.0
"""iceoryx2 through its Python API: a put loans a slice, copies the bytes there, sends and notifies; the consumer sleeps in a listener and reads in place.

The key travels in the user header. A service for each size, whose memory fits: one of several sizes would reserve the largest for every sample.
"""
import ctypes
import gc
import importlib.metadata

import iceoryx2 as iox2

import pair


class Header(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char * 32)]


class Iceoryx2:
    about = f"iceoryx2 {importlib.metadata.version('iceoryx2')}, its Python API"

    def __init__(self, end):
        self.end, self.services, self.sample = end, {}, None
        iox2.set_log_level(iox2.LogLevel.Error)
        config = iox2.config.default()
        config.global_cfg.prefix = iox2.FileName.new(f"{end.space}-iox2_")  # what is left can be told from others'
        config.global_cfg.root_path = iox2.Path.new(f"/tmp/{end.space}-iox2")
        self.node = iox2.NodeBuilder.new().config(config).signal_handling_mode(iox2.SignalHandlingMode.Disabled).create(iox2.ServiceType.Ipc)

    def prepare(self, payload, in_flight):
        self.open(len(payload.raw), in_flight)

    def expect(self, size, in_flight, note):
        self.open(size, in_flight)

    def open(self, size, in_flight):
        if (size, in_flight) not in self.services:
            name = iox2.ServiceName.new(f"{size}-{in_flight}")
            data = (
                self.node.service_builder(name).publish_subscribe(iox2.Slice[ctypes.c_uint8]).user_header(Header).payload_alignment(iox2.Alignment.new(64))
                .max_publishers(1).max_subscribers(1).enable_safe_overflow(False).subscriber_max_buffer_size(in_flight).subscriber_max_borrowed_samples(1)
                .open_or_create()
            )  # fmt: skip
            bell = self.node.service_builder(name).event().open_or_create()
            if self.end.producing:
                ports = data.publisher_builder().initial_max_slice_len(size).max_loaned_samples(1).create(), bell.notifier_builder().create()
            else:
                ports = data.subscriber_builder().create(), bell.listener_builder().create()
            self.services[size, in_flight] = data, bell, ports
        self.port, self.bell = self.services[size, in_flight][2]

    def put(self, key, payload):
        sample = self.port.loan_slice_uninit(len(payload.raw))
        ctypes.memmove(sample.payload_ptr, payload.address, len(payload.raw))
        sample.user_header().contents.key = key.encode()
        sample.assume_init().send()
        self.bell.notify()

    def get(self, key, size):
        while (sample := self.port.receive()) is None:
            self.bell.blocking_wait()
        assert sample.user_header().contents.key.decode() == key
        self.sample = sample
        return sample.payload().as_memory_view()

    def clean(self):
        self.sample.delete()
        self.sample = None

    def close(self):
        """Ports that are not deleted leave their files."""
        for _, _, ports in self.services.values():
            for port in ports:
                port.delete()
        self.port = self.bell = None
        self.services.clear()
        self.node = None
        gc.collect()


pair.run(Iceoryx2)
