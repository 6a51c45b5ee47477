"""Fetches what a real Kafka needs; ``make`` runs it beside pip, so that neither waits.

Needs nothing but Python itself, because nothing else is installed yet. What cannot be fetched is
no fault here: whoever starts Kafka tries again, and says so.
"""

from pathlib import Path

from kafkahub.devstack import kafka

if __name__ == "__main__":
    kafka.provide(Path("var/parts"))
