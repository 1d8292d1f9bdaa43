"""What a machine is and how its cores and memory are used: CPU workers, allocator, peaks, shared weights, clocks."""
