"""TLS material of endpoints, sealed, and when it ends."""

import kafkahub.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0011_access_tokens'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='tls',
            field=kafkahub.fields.EncryptedField(blank=True, editable=False, help_text='JSON object of PEM texts: client certificate, its key, authorities.', null=True),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='tls_expires_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='When the first certificate of its TLS material ends.', null=True),
        ),
    ]
