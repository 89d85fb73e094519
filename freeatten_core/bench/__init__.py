"""Speed, memory and error of attention, on the CPU and on a GPU."""
