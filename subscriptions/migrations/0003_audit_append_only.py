"""Refuse to change, delete or truncate audit rows, whoever asks."""

from django.db import migrations

CREATE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit rows are append only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON subscriptions_auditevent
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON subscriptions_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- Also for a session that plays a replica, which skips ordinary triggers.
ALTER TABLE subscriptions_auditevent ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE subscriptions_auditevent ENABLE ALWAYS TRIGGER audit_no_truncate;
"""

DROP = """
DROP TRIGGER audit_no_truncate ON subscriptions_auditevent;
DROP TRIGGER audit_no_change ON subscriptions_auditevent;
DROP FUNCTION audit_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0002_access_version")]

    operations = [migrations.RunSQL(CREATE, DROP)]
