"""What the code verifier runs *inside* the sandbox: standard library only, Python 3.9 or later.

``plain`` is the codec of both sides; ``callee`` holds the program under test; ``tester`` holds the tests, with
``pytest_names`` and ``numpy_names`` for those that want pytest or numpy. The host sends their sources into the sandbox
and imports ``plain`` alone.
"""
