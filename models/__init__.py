"""What is true: the tables, and the pure rules over them. No I/O, no clock, no HTTP."""
