"""What everything else uses: errors, strict configs, atomic files, reading and writing parameters."""
