"""What a recipe will cost before it runs: memory, seconds, hours, money; and how a cluster would spend its time.

Everything here is counted from sizes (``models.flops``) and set against a machine: a cluster of GPUs by its data sheet
and published efficiencies, or a machine of one's own by what ``thinkery profile`` measured on it. Left out: running
anything, and what no size tells (how long completions get, how many of them teach): those are assumptions, printed.
"""
