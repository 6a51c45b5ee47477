"""Endpoints choose signatures beside the standard ones."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0006_pull_groups'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='signatures',
            field=models.JSONField(blank=True, editable=False, help_text='What is signed beside the standard headers; null: nothing.', null=True),
        ),
    ]
