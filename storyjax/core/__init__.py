"""What everything else stands on: errors, strict configs, reading and writing parameters."""
