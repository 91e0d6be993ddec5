"""The subcommands of `storyjax`: what each says of itself, its arguments, and what it sets in motion."""
