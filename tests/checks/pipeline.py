#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job as a user sees it: pipeline.py PROGRAM SOURCE_FOLDER CASE

Cases: good, killed, interrupted (the supervisor alone), terminal (Ctrl-C: every process of the group), refused; mooncake: over a real Mooncake store.
"""
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import wave

HERE = pathlib.Path(__file__).resolve().parent
if sys.argv[3] == "mooncake":
    sys.path.insert(0, str(HERE.parent / "python"))
    import interop_support

    interop_support.into_the_environment("pipeline.py")
    from mooncake_server import MooncakeServer

    from mooncake.store import MooncakeDistributedStore

PROGRAM, SOURCE, CASE = sys.argv[1:4]


def run(arguments, folder):
    # A group of its own, so that a signal to all of it spares this script.
    return subprocess.Popen([PROGRAM, "run", "--out", folder, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def long_recording(folder):
    """Two minutes of a tone that comes and goes: long enough that something can happen in the middle."""
    path = os.path.join(folder, "long.wav")
    with wave.open(path, "wb") as out:
        out.setparams((1, 2, 48000, 0, "NONE", ""))
        second = b"".join(struct.pack("<h", (i % 97) * 150 - 7000 if i < 24000 else 0) for i in range(48000))
        for _ in range(120):
            out.writeframes(second)
    return path


def expect(condition, text, output):
    if not condition:
        sys.exit(f"{CASE}: {text}\n--- output\n{output}")


def stage_pid(process, stage):
    for line in process.stdout:
        found = re.match(rf"started {stage} +pid (\d+)", line)
        if found:
            return int(found.group(1))
    sys.exit(f"{CASE}: the pipeline did not start {stage}")


def wait_until_under_way(process, folder):
    """The mixture is written before the first chunk is sent."""
    end = time.monotonic() + 60
    while not os.path.exists(os.path.join(folder, "mixture.wav")):
        expect(process.poll() is None and time.monotonic() < end, "the pipeline did not get under way", "")
        time.sleep(0.005)


def good_run(arguments, folder, copies):
    process = run(arguments, folder)
    output = process.communicate(timeout=120)[0]
    expect(process.returncode == 0, f"exit status {process.returncode}", output)
    gain = re.search(r"gain ([-0-9.]+) dB", output)
    expect(gain and float(gain.group(1)) >= 5, "no gain of 5 dB", output)
    rows = re.findall(r"^(\d -> \d) +(\w+) +(\d+) +(\d+) +\S+ +\S+ +\S+ +(\S+ \+ \S+) +(\d+)$", output, re.M)
    expect(sorted(row[:2] for row in rows) == [("0 -> 1", "monitor"), ("0 -> 1", "thinker"), ("1 -> 2", "monitor"), ("1 -> 2", "talker")], "the table lacks a reader", output)
    for row in rows:
        expect(int(row[2]) > 0 and int(row[3]) > 0 and row[4:] == (copies, "0"), f"copies or errors of {row}", output)
    for name in ("mixture.wav", "enhanced.wav", "spectrogram.png"):
        expect(os.path.getsize(os.path.join(folder, name)) > 10000, f"{name} is missing or empty", output)
    expect("shared memory is as it was before" in output, "shared memory was not looked after", output)
    return output


def over_mooncake(folder):
    """The same programs, another file."""
    text = pathlib.Path(SOURCE, "pipeline_mooncake.yaml").read_text(encoding="utf-8")
    config = pathlib.Path(folder, "pipeline.yaml")
    # A node that stays; and memory that the stages bring themselves, as the examples of vLLM-Omni have it.
    for node, segment, http in ((True, "0", False), (False, "512000000", True)):
        with MooncakeServer(folder, node=node, http_metadata=http) as store:
            for before, after in (("127.0.0.1:50051", store.master), ("P2PHANDSHAKE", store.metadata), ("segment: 0 ", f"segment: {segment} ")):
                expect(text.count(before) == 1, f"pipeline_mooncake.yaml has not one '{before}'", text)
                text_now = (text if before == "127.0.0.1:50051" else text_now).replace(before, after)
            config.write_text(text_now, encoding="utf-8")
            arguments = ["--config", str(config)]
            if node:  # what others have there stays
                client = MooncakeDistributedStore()
                expect(client.setup("127.0.0.1", store.metadata, 0, 16 << 20, "tcp", "", store.master) == 0 and client.put("control", b"1") == 0, "Python cannot put", "")
            for again in ("first", "second"):  # nothing of the first is in the way of the second
                out = os.path.join(folder, f"{again}-{segment}")
                output = good_run(arguments, out, "0 + 1")
                expect("first object" not in output, "stages on a store share no memory", output)
                expect(store.keys() == (["control"] if node else []), f"in the store: {store.keys()}", output)
            if node:
                client.close()
    output = run(arguments, folder).communicate(timeout=60)[0]
    expect("nobody listens at that address" in output, "no clear message where no store runs", output)


with tempfile.TemporaryDirectory() as folder:
    if CASE == "mooncake":
        over_mooncake(folder)
    elif CASE == "good":
        output = good_run([], folder, "1 + 0")
        places = {}
        for edge, place in re.findall(r"first object of (\S+ -> \S+) as \S+ +sees it: (device \S+ inode \d+ offset \d+)", output):
            places.setdefault(edge, []).append(place)
        expect(sorted(places) == ["0 -> 1", "1 -> 2"], "not both edges are reported", output)
        for edge, seen in places.items():
            expect(len(seen) == 2 and len(set(seen)) == 1, f"the readers of {edge} do not see one block", output)
    elif CASE in ("killed", "interrupted", "terminal"):
        process = run(["--speech", long_recording(folder)], folder)
        thinker = stage_pid(process, "thinker")
        wait_until_under_way(process, folder)
        if CASE == "killed":
            os.kill(thinker, signal.SIGKILL)
        elif CASE == "interrupted":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        # The supervisor's own clock: how long this script waits for the processor is not the pipeline's doing.
        ended = re.search(r"everything ended and tidied up ([0-9.]+) s after that", output)
        expect(ended and float(ended.group(1)) < 2, "the pipeline did not end within 2 s", output)
        print(ended.group(0))
        if CASE == "killed":
            expect(process.returncode == 1, f"exit status {process.returncode}", output)
            expect("stage thinker was killed by signal 9" in output, "no clear message", output)
        else:
            expect(process.returncode == 130, f"exit status {process.returncode}", output)
            expect("stopped by signal 2" in output, "no clear message", output)
            expect("was killed by" not in output and "error:" not in output, "a stage is blamed for what the user did", output)
        expect("left in shared memory" not in output, "files are left in shared memory", output)
        for line in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                expect(folder.encode() not in line.read_bytes(), f"{line} still runs", output)
            except OSError:
                pass
    else:
        broken = os.path.join(folder, "broken.wav")
        pathlib.Path(broken).write_text("this is no sound\n", encoding="utf-8")
        no_edge = os.path.join(folder, "no_edge.yaml")
        text = pathlib.Path(SOURCE, "pipeline.yaml").read_text(encoding="utf-8")
        pathlib.Path(no_edge).write_text(text.replace("clean_spectra}", "nobody}"), encoding="utf-8")
        for arguments, status, words in (
            (["--speech", "/nowhere.wav"], 2, "/nowhere.wav does not exist"),
            (["--speech", broken], 1, "broken.wav"),
            (["--mix-snr", "loud"], 2, "is no number of dB"),
            (["--config", no_edge], 1, "nobody"),
            (["--frobnicate", "1"], 2, "unknown option --frobnicate"),
        ):
            process = run(arguments, folder)
            output = process.communicate(timeout=60)[0]
            expect(process.returncode == status and words in output, f"{arguments}: exit status {process.returncode}, expected {status} and '{words}'", output)
