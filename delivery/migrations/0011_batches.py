"""The batch that an attempt was part of. Nullable and without a default: no row is rewritten."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("delivery", "0010_order_of_parked"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE delivery_attempt ADD COLUMN batch text",
            "ALTER TABLE delivery_attempt DROP COLUMN batch",
        ),
    ]
