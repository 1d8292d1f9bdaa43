"""Searches its own memory for what earlier runs left in the process it was forked from."""

# expect: ok | wall_s=5 cpu_s=4

import ctypes
import gc
import os
import re

libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
reader, writer = os.pipe()
ends = [libc.sbrk(0)] + [id(thing) + (8 << 20) for thing in ({}, [], "x" * 5000, gc.get_objects()[0], os, gc)]
for end in ends:
    for page in range((end & ~4095) - (16 << 20), end & ~4095, 4096):
        # A write from memory that is not there is an error, not a crash.
        if libc.write(writer, ctypes.c_void_p(page), ctypes.c_size_t(4096)) == 4096:
            for found in re.findall(rb"earlier[0-9a-f]{24}", os.read(reader, 4096)):
                print("FOUND", found)
