"""The order of parked records: blocked and held ones, and the key they wait behind."""
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('delivery', '0009_endpoint_standing'),
        ('subscriptions', '0023_ordering_and_batches'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='parkeddelivery',
            name='parked_owed_is_scheduled',
        ),
        migrations.AddField(
            model_name='parkeddelivery',
            name='order_key',
            field=models.BinaryField(help_text='Tag of the key whose order it keeps; null: it goes out on its own.', null=True),
        ),
        migrations.AlterField(
            model_name='parkeddelivery',
            name='reason',
            field=models.CharField(choices=[('failed', 'Failed'), ('blocked', 'Blocked'), ('exhausted', 'Exhausted'), ('undecodable', 'Undecodable'), ('too_large', 'Too Large'), ('grant_changed', 'Grant Changed'), ('resend', 'Resend'), ('test', 'Test'), ('gap', 'Gap'), ('notice', 'Notice')], default='failed', max_length=16),
        ),
        migrations.AlterField(
            model_name='parkeddelivery',
            name='state',
            field=models.CharField(choices=[('scheduled', 'Scheduled'), ('sending', 'Sending'), ('blocked', 'Blocked'), ('held', 'Held'), ('dead', 'Dead'), ('discarded', 'Discarded')], default='scheduled', max_length=10),
        ),
        migrations.AddIndex(
            model_name='parkeddelivery',
            index=models.Index(condition=models.Q(('order_key__isnull', False), ('state__in', ['scheduled', 'sending', 'blocked', 'held'])), fields=['topic', 'partition', 'subscription', 'order_key', 'generation', 'offset'], name='parked_order'),
        ),
        migrations.AddConstraint(
            model_name='parkeddelivery',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['blocked', 'held', 'dead', 'discarded']), ('next_attempt_at__isnull', False), _connector='OR'), name='parked_owed_is_scheduled'),
        ),
        migrations.AddConstraint(
            model_name='parkeddelivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state__in', ['blocked', 'held']), _negated=True), ('order_key__isnull', False), _connector='OR'), name='parked_waiting_has_order'),
        ),
    ]
