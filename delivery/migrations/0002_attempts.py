"""The attempt log as a table of daily partitions, the due index by subscription, discarded rows.

Plain SQL, because Django knows no partitions. The default partition takes what has no day of its
own, so that a day nobody prepared never stops a checkpoint; ``delivery/partitions.py`` keeps the
days ahead from here on.
"""

from django.db import migrations, models
from django.db.models import Q

CREATE = """
CREATE TABLE delivery_attempt (
    id                bigint GENERATED ALWAYS AS IDENTITY,
    at                timestamptz NOT NULL,
    partner           text NOT NULL,
    subscription      text NOT NULL,
    endpoint          text NOT NULL,
    delivery          text NOT NULL,
    topic             text NOT NULL,
    partition         integer NOT NULL,
    "offset"          bigint NOT NULL,
    record_time       timestamptz,
    key               bytea,
    number            integer NOT NULL,
    kind              text NOT NULL,
    outcome           text NOT NULL,
    outcome_class     text NOT NULL,
    http_status       integer,
    duration_us       integer NOT NULL,
    timings_us        integer[] NOT NULL,
    reused            boolean NOT NULL,
    request_bytes     integer NOT NULL,
    response_excerpt  text,
    response_note     text,
    retry_after_s     integer,
    next_attempt_at   timestamptz,
    secret_ids        text[] NOT NULL,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);

CREATE INDEX attempt_of_partner ON delivery_attempt (partner, at, id);
CREATE INDEX attempt_of_subscription ON delivery_attempt (subscription, at, id);
CREATE INDEX attempt_of_delivery ON delivery_attempt (delivery, at, id);
CREATE INDEX attempt_of_lane ON delivery_attempt (subscription, topic, partition, "offset");

CREATE TABLE delivery_attempt_default PARTITION OF delivery_attempt DEFAULT;

DO $$
DECLARE
    day date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    FOR ahead IN 0..3 LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF delivery_attempt FOR VALUES FROM (%L) TO (%L)',
            'delivery_attempt_' || to_char(day + ahead, 'YYYYMMDD'),
            (day + ahead)::text || ' 00:00:00+00',
            (day + ahead + 1)::text || ' 00:00:00+00'
        );
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):

    dependencies = [
        ("delivery", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(CREATE, "DROP TABLE delivery_attempt"),
        migrations.AlterField(
            model_name="parkeddelivery",
            name="state",
            field=models.CharField(
                choices=[
                    ("scheduled", "Scheduled"),
                    ("sending", "Sending"),
                    ("dead", "Dead"),
                    ("discarded", "Discarded"),
                ],
                default="scheduled",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="parkeddelivery",
            name="reason",
            field=models.CharField(
                choices=[
                    ("failed", "Failed"),
                    ("exhausted", "Exhausted"),
                    ("undecodable", "Undecodable"),
                    ("too_large", "Too Large"),
                    ("resend", "Resend"),
                    ("test", "Test"),
                ],
                default="failed",
                max_length=16,
            ),
        ),
        migrations.RemoveConstraint(
            model_name="parkeddelivery", name="parked_owed_is_scheduled"
        ),
        migrations.AddConstraint(
            model_name="parkeddelivery",
            constraint=models.CheckConstraint(
                condition=Q(state__in=["dead", "discarded"])
                | Q(next_attempt_at__isnull=False),
                name="parked_owed_is_scheduled",
            ),
        ),
        migrations.RemoveIndex(model_name="parkeddelivery", name="parked_due"),
        migrations.AddIndex(
            model_name="parkeddelivery",
            index=models.Index(
                condition=Q(state="scheduled"),
                fields=["subscription", "next_attempt_at"],
                name="parked_due",
            ),
        ),
        migrations.AddIndex(
            model_name="parkeddelivery",
            index=models.Index(
                condition=Q(state="dead"), fields=["expires_at"], name="parked_expiring"
            ),
        ),
        migrations.AddIndex(
            model_name="parkeddelivery",
            index=models.Index(
                condition=Q(state="discarded"), fields=["topic", "partition"], name="parked_marks"
            ),
        ),
    ]
