"""The commands of `neuraxis`, a module for each kind."""
