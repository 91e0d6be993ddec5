"""Questions about a story, in plain English, answered from its tables with the rows that an answer stands on."""
