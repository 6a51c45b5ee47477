"""Raise one version, and ring, whenever a row changes that decides who gets what.

Triggers, because bulk updates, SQL by hand and library code bypass model signals. They are
deferred, so that the one row of ``access_version`` is locked last and for the commit only: two
long transactions about different partners never wait for each other.

A migration that writes to these tables and alters them too must run
``SET CONSTRAINTS ALL IMMEDIATE`` between the two: PostgreSQL alters no table with pending triggers.
"""

from django.db import migrations

WATCHED = {
    "partner": (),
    "apikey": ("last_used_at", "last_used_ip", "last_used_agent"),
    "topic": (),
    "grant": (),
    "endpoint": (),
    "signingsecret": (),
    "subscription": (),
}
"""Table to the columns that change on every use and decide nothing."""

CREATE = """
CREATE TABLE access_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL
);
INSERT INTO access_version (version) VALUES (1);

-- Arguments: the kind to ring with, then the columns whose change means nothing.
CREATE FUNCTION access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - TG_ARGV[1:] = to_jsonb(NEW) - TG_ARGV[1:] THEN
        RETURN NULL;
    END IF;
    -- The setting ends with the transaction, and with a savepoint that is rolled back.
    IF current_setting('kafkahub.access_changed', true)
            IS DISTINCT FROM pg_current_xact_id()::text THEN
        PERFORM set_config('kafkahub.access_changed', pg_current_xact_id()::text, true);
        UPDATE access_version SET version = version + 1;
    END IF;
    PERFORM pg_notify('kafkahub_access', TG_ARGV[0]);  -- equal ones of a transaction are sent once
    RETURN NULL;
END;
$$;
"""

DROP = """
DROP FUNCTION access_changed();
DROP TABLE access_version;
"""


def create_trigger(kind: str, ignored: tuple[str, ...]) -> str:
    """Return the statement that watches the table of one kind."""
    arguments = ", ".join(f"'{argument}'" for argument in (kind, *ignored))
    return (
        f"CREATE CONSTRAINT TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE "
        f"ON subscriptions_{kind} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION access_changed({arguments});"
    )


def drop_trigger(kind: str) -> str:
    """Return the statement that undoes ``create_trigger``."""
    return f"DROP TRIGGER access_changed ON subscriptions_{kind};"


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0001_initial")]

    operations = [
        migrations.RunSQL(CREATE, DROP),
        *(
            migrations.RunSQL(create_trigger(kind, ignored), drop_trigger(kind))
            for kind, ignored in WATCHED.items()
        ),
    ]
