"""Image file formats: each has a writer and a reader, and knows nothing of conda."""
