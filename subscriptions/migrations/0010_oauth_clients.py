"""Add OAuth clients, before the tables of the OAuth package that point to them, and issuers."""

import django.contrib.postgres.fields
import django.db.models.deletion
import functools
import kafkahub.clock
import kafkahub.ids
import oauth2_provider.generators
import oauth2_provider.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0009_endpoint_auth'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    run_before = [("oauth2_provider", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name='Issuer',
            fields=[
                ('id', models.CharField(default=functools.partial(kafkahub.ids.new, *('iss',), **{}), editable=False, max_length=40, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100, unique=True)),
                ('issuer', models.CharField(help_text='Exactly what its tokens have as iss.', max_length=500, unique=True)),
                ('jwks_url', models.CharField(help_text='Where it publishes its keys.', max_length=2048, verbose_name='JWKS URL')),
                ('algorithms', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('RS256', 'RS256'), ('RS384', 'RS384'), ('RS512', 'RS512'), ('PS256', 'PS256'), ('PS384', 'PS384'), ('PS512', 'PS512'), ('ES256', 'ES256'), ('ES384', 'ES384'), ('EdDSA', 'EdDSA')], max_length=5), size=None)),
                ('audience', models.CharField(help_text='What its tokens for us have as aud: one string.', max_length=500)),
                ('claim', models.CharField(default='sub', help_text='Claim that says who holds the token.', max_length=100)),
                ('max_age_s', models.PositiveIntegerField(default=86400, help_text='Longest time in seconds from iat to exp.')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('version', models.PositiveIntegerField(default=1, editable=False)),
                ('created_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('max_age_s__gte', 1), ('max_age_s__lte', 86400)), name='issuer_max_age', violation_error_message='From 1 to 86400 seconds.')],
            },
        ),
        migrations.CreateModel(
            name='OAuthClient',
            fields=[
                ('client_id', models.CharField(db_index=True, default=oauth2_provider.generators.generate_client_id, max_length=255, unique=True, verbose_name='client ID')),
                ('redirect_uris', models.TextField(blank=True, help_text='Allowed URIs list, space separated', verbose_name='redirect URIs')),
                ('post_logout_redirect_uris', models.TextField(blank=True, default='', help_text='Allowed Post Logout URIs list, space separated', verbose_name='post logout redirect URIs')),
                ('client_type', models.CharField(choices=[('confidential', 'Confidential'), ('public', 'Public')], max_length=32, verbose_name='client type')),
                ('authorization_grant_type', models.CharField(choices=[('authorization-code', 'Authorization code'), ('urn:ietf:params:oauth:grant-type:device_code', 'Device Code'), ('implicit', 'Implicit'), ('password', 'Resource owner password-based'), ('client-credentials', 'Client credentials'), ('openid-hybrid', 'OpenID connect hybrid')], max_length=44, verbose_name='authorization grant type')),
                ('client_secret', oauth2_provider.models.ClientSecretField(blank=True, db_index=True, default=oauth2_provider.generators.generate_client_secret, help_text='Client secret for authentication', max_length=255, verbose_name='client secret')),
                ('hash_client_secret', models.BooleanField(default=True, verbose_name='hash client secret')),
                ('name', models.CharField(blank=True, max_length=255, verbose_name='name')),
                ('skip_authorization', models.BooleanField(default=False, verbose_name='skip authorization')),
                ('created', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated', models.DateTimeField(auto_now=True, verbose_name='updated')),
                ('algorithm', models.CharField(blank=True, choices=[('', 'No OIDC support'), ('RS256', 'RSA with SHA-2 256'), ('HS256', 'HMAC with SHA-2 256')], default='', max_length=5, verbose_name='algorithm')),
                ('allowed_origins', models.TextField(blank=True, default='', help_text='Allowed origins list to enable CORS, space separated', verbose_name='allowed origins')),
                ('registration_source', models.CharField(choices=[('manual', 'Manual'), ('dcr', 'Dynamic Client Registration'), ('cimd', 'Client ID Metadata Document')], default='manual', help_text='How this application was registered (manual, DCR per RFC 7591, or CIMD)', max_length=32, verbose_name='registration source')),
                ('cimd_expires_at', models.DateTimeField(blank=True, default=None, help_text='When the cached Client ID Metadata Document should be re-fetched', null=True, verbose_name='CIMD expires at')),
                ('id', models.CharField(default=functools.partial(kafkahub.ids.new, *('cli',), **{}), editable=False, max_length=40, primary_key=True, serialize=False)),
                ('mode', models.CharField(choices=[('live', 'Live'), ('test', 'Test')], default='live', max_length=4)),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), default=list, size=None)),
                ('default_scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), blank=True, default=list, help_text='What a token gets when none is asked for; empty: then there is no token.', size=None)),
                ('topics', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=249), blank=True, help_text='Topics the client is limited to; empty for all that the grants allow.', null=True, size=None)),
                ('allowed_cidrs', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, size=None)),
                ('may_introspect', models.BooleanField(default=False, help_text="May ask about tokens of its partner's clients.")),
                ('older_secret', models.CharField(blank=True, default='', editable=False, max_length=255)),
                ('older_secret_until', models.DateTimeField(editable=False, null=True)),
                ('created_by', models.CharField(editable=False, max_length=100)),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('revoke_reason', models.CharField(blank=True, editable=False, max_length=200)),
                ('version', models.PositiveIntegerField(default=1, editable=False)),
                ('created_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
                ('partner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='clients', to='subscriptions.partner')),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='%(app_label)s_%(class)s', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'OAuth client',
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('revoked_at__isnull', True)), fields=('partner', 'name'), name='client_one_live_name', violation_error_message='A live client of this partner has this name.')],
            },
        ),
        migrations.CreateModel(
            name='TokenSubject',
            fields=[
                ('id', models.CharField(default=functools.partial(kafkahub.ids.new, *('sub',), **{}), editable=False, max_length=40, primary_key=True, serialize=False)),
                ('value', models.CharField(help_text='Exactly what the claim holds.', max_length=300)),
                ('name', models.CharField(max_length=100)),
                ('mode', models.CharField(choices=[('live', 'Live'), ('test', 'Test')], default='live', max_length=4)),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), default=list, size=None)),
                ('topics', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=249), blank=True, help_text='Topics the subject is limited to; empty for all that the grants allow.', null=True, size=None)),
                ('allowed_cidrs', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, size=None)),
                ('version', models.PositiveIntegerField(default=1, editable=False)),
                ('created_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(default=kafkahub.clock.now, editable=False)),
                ('issuer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='subjects', to='subscriptions.issuer')),
                ('partner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='subjects', to='subscriptions.partner')),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(fields=('issuer', 'value'), name='subject_once_an_issuer', violation_error_message='This value of the claim stands for somebody already.')],
            },
        ),
        *(
            migrations.RunSQL(
                "CREATE CONSTRAINT TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE "
                f"ON subscriptions_{kind} DEFERRABLE INITIALLY DEFERRED "
                f"FOR EACH ROW EXECUTE FUNCTION access_changed('{kind}');",
                f"DROP TRIGGER access_changed ON subscriptions_{kind};",
            )
            for kind in ("oauthclient", "issuer", "tokensubject")
        ),
    ]
