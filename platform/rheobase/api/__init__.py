"""What `import rheobase as rb` gives; nothing in the package imports it."""
