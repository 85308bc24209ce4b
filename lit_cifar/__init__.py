"""lit_cifar: what does a training technique really buy? Deep dense networks on CIFAR-10, one variant at a time."""

__version__ = "0.1.0"
