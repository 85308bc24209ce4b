"""What `import lit_cifar` offers: the commands as functions, and the objects they return."""
