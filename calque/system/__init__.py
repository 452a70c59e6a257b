"""What the operating system gives: durable files, processes, signals, memory and the facts of the machine."""
