"""What every room may use: files, threads, memory, devices. It imports no other room."""
