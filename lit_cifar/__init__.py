"""lit_cifar: what does a training technique really buy? Deep dense networks on CIFAR-10, one variant at a time."""

from lit_cifar.renamed import support_old_names

__version__ = "0.1.0"

support_old_names()
