"""Speed and memory, measured: each script prints its machine, its sizes and medians."""
