"""The operating system: durable files, processes, signals, memory and facts about the machine."""
