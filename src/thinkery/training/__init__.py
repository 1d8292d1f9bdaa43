"""Training: groups with rewards become a better policy. Numbers come in; how they were earned is not known here."""
