"""Examples; a package so that tests and tools can import the generators."""
