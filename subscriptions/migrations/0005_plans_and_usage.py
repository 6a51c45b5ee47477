"""Add plans, whose change raises the access version, and what partners use by the hour."""

import django.db.models.deletion
import functools
import kafkahub.clock
import kafkahub.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0004_stream_ticket'),
    ]

    operations = [
        migrations.CreateModel(
            name='Plan',
            fields=[
                ('id', models.CharField(default=functools.partial(kafkahub.ids.new, *('pln',), **{}), editable=False, max_length=40, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100, unique=True)),
                ('description', models.TextField(blank=True)),
                ('is_default', models.BooleanField(default=False, help_text='Holds for partners that have no plan of their own.', verbose_name='default')),
                ('rules', models.JSONField(blank=True, default=dict, help_text='Scope to policy to rate a second and burst.')),
                ('version', models.PositiveIntegerField(default=1, editable=False)),
                ('created_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('is_default', True)), fields=('is_default',), name='plan_one_default', violation_error_message='There is a default plan already.')],
            },
        ),
        migrations.AddField(
            model_name='apikey',
            name='plan',
            field=models.ForeignKey(blank=True, help_text="What this key may use; empty for the partner's plan.", null=True, on_delete=django.db.models.deletion.PROTECT, to='subscriptions.plan'),
        ),
        migrations.AddField(
            model_name='partner',
            name='plan',
            field=models.ForeignKey(blank=True, help_text='What the partner may use; empty for the default plan.', null=True, on_delete=django.db.models.deletion.PROTECT, to='subscriptions.plan'),
        ),
        migrations.CreateModel(
            name='UsageHour',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='Its beginning, in UTC.')),
                ('door', models.CharField(max_length=20)),
                ('topic', models.CharField(blank=True, help_text='Empty: of no topic.', max_length=249)),
                ('requests', models.PositiveBigIntegerField(default=0)),
                ('refused', models.PositiveBigIntegerField(default=0, help_text='Requests over a limit.')),
                ('records_in', models.PositiveBigIntegerField(default=0)),
                ('bytes_in', models.PositiveBigIntegerField(default=0)),
                ('records_out', models.PositiveBigIntegerField(default=0)),
                ('bytes_out', models.PositiveBigIntegerField(default=0)),
                ('partner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='usage', to='subscriptions.partner')),
            ],
            options={
                'ordering': ['-hour', 'partner', 'door', 'topic'],
                'indexes': [models.Index(fields=['hour'], name='usage_hour')],
                'constraints': [models.UniqueConstraint(fields=('partner', 'hour', 'door', 'topic'), name='usage_once_an_hour')],
            },
        ),
        migrations.RunSQL(
            "CREATE CONSTRAINT TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE "
            "ON subscriptions_plan DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION access_changed('plan');",
            "DROP TRIGGER access_changed ON subscriptions_plan;",
        ),
    ]
