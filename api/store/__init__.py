"""The store: engines, transactions, events, outbox, migrations and the loop of jobs; the one room that commits."""
