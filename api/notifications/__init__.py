"""The feed of changes and webhooks: subscriptions, the delivery queue and the sender of messages."""
