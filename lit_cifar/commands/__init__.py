"""The commands of `lit-cifar`, a file each."""
