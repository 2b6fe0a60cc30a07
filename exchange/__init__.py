"""The data-exchange layer's side: asks the privacy manager, and lets the granted part of a UWLR answer through."""
