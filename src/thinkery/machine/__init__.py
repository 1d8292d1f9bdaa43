"""What a machine is and how its cores and memory are used: lanes, allocator, measured peaks, shared weights, clocks."""
