"""Tables of consents (grants, requests, agreements, partners, schools and the like) and their pure rules."""
