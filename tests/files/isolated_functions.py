"""What the tests of `files.isolated` call in a worker process."""

import ctypes
import os
import time

import numpy as np

from lens_plugins.errors import ConfigError

CALLS = []


def values(count):
    CALLS.append(count)
    array = np.arange(count, dtype=np.float32).reshape(-1, 2)
    return {"array": array, "turned": array.T, "none": np.zeros((0, 3), np.int8), "calls": len(CALLS), "text": "ä"}


def segfault():
    ctypes.string_at(0)


def leave():
    os._exit(3)


def loop():
    while True:
        pass


def sleep():
    time.sleep(100)


def huge():
    return {"array": np.ones(2**33)}


def grow():
    kept = []
    while True:
        kept.append(bytearray(2**20))


def ours():
    raise ConfigError("a sentence of ours.")


def foreign():
    raise KeyError("first line\nsecond line")


def open_it(path):
    with open(path, "rb") as file:
        return {"length": len(file.read())}


def noisy():
    print("talk")
    os.write(1, b"more talk")
    os.write(2, b"complaints")
    return {"done": True}
