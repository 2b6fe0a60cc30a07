"""The data-exchange layer's side: asks the privacy manager, filters a UWLR answer, and lets the granted part through."""
