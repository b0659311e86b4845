"""A conversation with a device as a file: recorded, shown, compared, played again."""
