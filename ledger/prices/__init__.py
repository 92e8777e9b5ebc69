"""The price book in Postgres: what applied when, and what we knew when. Nothing is edited; knowledge is added."""
