"""What several benchmarks share: the machine, measured processes, made features and jobs of them, tables."""
