"""OCI images and what Docker saves: layers, configuration, and one archive that serves both."""
