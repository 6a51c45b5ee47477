"""All SQL of pull groups: consumers whose state is in PostgreSQL, so that any process serves them.

Locks are taken in one order: own instance, group, positions, and others' rows only with SKIP
LOCKED. Times are PostgreSQL's. Nothing here waits for Kafka or a client.
"""
