"""The checks, one module per group: functions that judge a patient, and entries that name them."""
