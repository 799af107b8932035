-- What to type next about an alert, with the names that it was raised for.
ALTER TABLE alert ADD COLUMN next_command text NOT NULL DEFAULT '';
