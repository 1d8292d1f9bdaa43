"""Ends well in the eyes of its parent, while a child with the same output prints the answer it did not have in time."""

# expect: ok | wall_s=2

import os
import time

print("early", flush=True)
if os.fork() == 0:
    time.sleep(0.2)
    print("@TOKEN@ too late", flush=True)
os._exit(0)
