"""A school's register of processing (AVG art. 30) as JSON, CSV and PDF, read from the log by `models/past`."""
