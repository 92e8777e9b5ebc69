"""The migrations, on a real Postgres."""
import psycopg
from ledger.migrate import migrate
from ledger.private_postgres import Server

def test_migrating_again_changes_nothing(server: Server, database: str) -> None:
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        assert migrate(admin) == []
