"""What is due for operators, the job that writes weekly letters, the job that mails them, contact addresses."""
