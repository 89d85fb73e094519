"""What everything else stands on: errors, files, devices, lengths, memory, progress."""
