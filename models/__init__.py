"""Tables, and the pure rules over them: no I/O, no clock, no HTTP."""
