"""Writes the sandbox's own frames and reports into every descriptor: this run ended well, says each of them."""

# expect: error | wall_s=3 | both

import contextlib
import json
import os
import struct

story = json.dumps({"status": "ok", "exit_code": 0, "reason": "", "wall_s": 0.0, "cpu_s": 0.0}).encode()
frames = b"".join(struct.pack(">cI", kind, len(text)) + text for kind, text in ((b"O", b"7"), (b"E", b""), (b"A", b"")))
frames += struct.pack(">cI", b"D", len(story)) + story
for text in (struct.pack(">ci", b"S", 0), struct.pack(">id", 0, 0.0), frames, struct.pack(">cI", b"X", 0)):
    for descriptor in range(3, 1024):
        with contextlib.suppress(OSError):
            os.write(descriptor, text)
os._exit(3)
