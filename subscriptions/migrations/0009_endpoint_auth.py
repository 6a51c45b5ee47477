"""What we log in with at an endpoint, sealed."""

import kafkahub.fields
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0008_leases_of_records'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='auth',
            field=kafkahub.fields.EncryptedField(blank=True, editable=False, help_text='JSON object of what we log in with; null: nothing.', null=True),
        ),
    ]
