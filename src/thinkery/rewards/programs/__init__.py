"""Programs and their tests: finding them in a completion, running them in sandboxes, comparing what they return."""
