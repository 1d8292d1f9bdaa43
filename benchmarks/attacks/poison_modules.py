"""Changes the modules, built-ins and files the next program will import."""

# expect: ok error | wall_s=3 | both twice

import builtins
import gc
import json
import os
import sys

for module in list(sys.modules.values()):
    for name in list(vars(module)):
        if callable(vars(module)[name]) and not name.startswith("__") and module not in (builtins, sys, os, gc):
            vars(module)[name] = lambda *_, **__: "poisoned"
builtins.len = lambda _: 42
builtins.print = lambda *_, **__: None
json.dumps = lambda _: "poisoned"
for thing in gc.get_objects():
    if isinstance(thing, dict) and "dumps" in thing:
        thing["dumps"] = None
for folder in (*sys.path, "/tmp", "/usr/lib/python3", "/usr/local/lib", "/thinkery", "/thinkery/inside", "/etc"):
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "x.pth", ".pythonrc", "random.py", "@TOKEN@"):
        try:
            with open(f"{folder}/{name}", "w") as file:
                file.write("raise SystemExit(9)")
        except OSError:
            pass
