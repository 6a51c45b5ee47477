"""Ring when an access token ends before its time; a new one, or one that is over, changes nothing."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0010_oauth_clients"),
        ("oauth2_provider", "0022_refreshtoken_token_family_index"),
    ]

    operations = [
        migrations.RunSQL(
            "CREATE CONSTRAINT TRIGGER access_changed AFTER UPDATE OR DELETE "
            "ON oauth2_provider_accesstoken DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW WHEN (OLD.expires > clock_timestamp()) "
            "EXECUTE FUNCTION access_changed('token');",
            "DROP TRIGGER access_changed ON oauth2_provider_accesstoken;",
        ),
    ]
