"""What goes into an image: base layers, conda packages and wheels, each as a sequence of entries."""
