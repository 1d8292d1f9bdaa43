"""Writes machine code into memory and calls it: the 32-bit gate, from the middle of an interpreter."""

# expect: error | wall_s=3

import ctypes
import mmap
import platform

if platform.machine() != "x86_64":
    raise SystemExit(1)
code = b"\xb8\x36\x01\x00\x00\xbb\x00\x00\x00\x10\xcd\x80\xc3"  # mov eax, 310; mov ebx, CLONE_NEWUSER; int 0x80; ret
area = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
area.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
raise SystemExit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 0 else 1)
