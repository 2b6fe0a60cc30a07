"""Reminders: due items for operators, the job that writes weekly letters, the job that mails them, contacts."""
