"""The bank's portfolio as files: what they hold, reading and checking them, writing them again."""
