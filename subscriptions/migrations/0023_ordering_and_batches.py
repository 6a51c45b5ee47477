"""Ordering, exhaustion and batches of subscriptions; the head of a serial lane."""
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0022_client_certificates'),
    ]

    operations = [
        migrations.AddField(
            model_name='laneposition',
            name='head_attempts',
            field=models.IntegerField(db_default=0, help_text='Attempts that counted of the record at next_offset, in a serial lane.'),
        ),
        migrations.AddField(
            model_name='laneposition',
            name='not_before',
            field=models.DateTimeField(help_text='When that record is tried again; null: at once.', null=True),
        ),
        migrations.AddField(
            model_name='subscription',
            name='batch',
            field=models.JSONField(blank=True, help_text='Limits of a batch; null: one record a request.', null=True),
        ),
        migrations.AddField(
            model_name='subscription',
            name='on_exhausted',
            field=models.CharField(choices=[('dead_letter', 'Dead Letter'), ('hold', 'Hold')], db_default='dead_letter', default='dead_letter', max_length=12),
        ),
        migrations.AlterField(
            model_name='laneposition',
            name='reason',
            field=models.CharField(blank=True, choices=[('', 'None'), ('start', 'Start'), ('overflow', 'Overflow'), ('endpoint_down', 'Endpoint Down'), ('throttled', 'Throttled'), ('parked_full', 'Parked Full'), ('subscription', 'Subscription'), ('recreated', 'Recreated'), ('seek', 'Seek'), ('grant_changed', 'Grant Changed'), ('head', 'Head'), ('held', 'Held')], default='start', max_length=16),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='ordering',
            field=models.CharField(choices=[('none', 'None'), ('key', 'Key'), ('partition', 'Partition')], default='none', max_length=10),
        ),
    ]
