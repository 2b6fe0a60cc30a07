"""The release layer: asks the privacy manager, and passes on the granted part of a UWLR answer."""
