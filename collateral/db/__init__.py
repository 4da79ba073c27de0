"""PostgreSQL with TimescaleDB: pool, migrations and one module per aggregate."""
