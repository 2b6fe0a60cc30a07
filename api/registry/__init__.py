"""The operators' register: partners, connections, agreements, ground rules, stops, schoolkeys, DUO's schools."""
