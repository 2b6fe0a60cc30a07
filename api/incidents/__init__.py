"""The incident portal: routes of reports, answers, suspected breaches and attachments, and an incident's views."""
