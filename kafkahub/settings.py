"""Django's own names, filled from ``config.py``."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from csp.constants import NONE, SELF

from kafkahub import config

CONFIG = config.load()
BASE_DIR = Path(__file__).resolve().parent.parent
IS_PUBLIC = CONFIG.base_url.startswith("https://")
HOST = urlsplit(CONFIG.base_url).hostname or "127.0.0.1"

DEBUG = False
SECRET_KEY = CONFIG.secret_key.get_secret_value()
REST_HOST = urlsplit(CONFIG.public_url or CONFIG.base_url).hostname or HOST
ALLOWED_HOSTS = [*CONFIG.allowed_hosts, HOST, REST_HOST]
ROOT_URLCONF = "kafkahub.urls"
ASGI_APPLICATION = "kafkahub.asgi.application"

INSTALLED_APPS = [
    "kafkahub.apps.KafkaHubConfig",
    "subscriptions.apps.SubscriptionsConfig",
    "delivery.apps.DeliveryConfig",
    "gateway.apps.GatewayConfig",
    "subscriptions.apps.HubAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "rest_framework",
    "oauth2_provider",
    "drf_spectacular",
    "csp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "subscriptions.signin.middleware.SignInRules",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "kafkahub" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def database(url: str) -> dict[str, object]:
    """Return Django's form of a ``postgresql://`` URL."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "OPTIONS": {
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "options": "-c statement_timeout=5s -c lock_timeout=2s"
            " -c idle_in_transaction_session_timeout=10s -c timezone=UTC",
            **dict(parse_qsl(parts.query)),  # sslmode, sslrootcert, a socket's host
        },
        "CONN_MAX_AGE": 0,
    }


DATABASES = {"default": database(CONFIG.database_url.get_secret_value())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LOGIN_URL = "account_login"
ACCOUNT_ADAPTER = "subscriptions.signin.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}  # a member's is the e-mail address
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # an invitation reached the address, or the company vouches
ACCOUNT_SESSION_REMEMBER = True  # the cookie's age; SignInRules ends sessions sooner
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_RATE_LIMITS = False  # subscriptions.signin.throttle counts, and the same in all processes
MFA_ADAPTER = "subscriptions.signin.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "authenticate": "subscriptions.signin.forms.SecondFactorForm",
    "reauthenticate": "subscriptions.signin.forms.ReauthenticateForm",
}
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_PUBLIC
SOCIALACCOUNT_ADAPTER = "subscriptions.signin.adapters.SsoAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "APPS": [
            {
                "provider_id": "company",
                "name": CONFIG.sso_name,
                "client_id": CONFIG.sso_client_id,
                "secret": CONFIG.sso_client_secret.get_secret_value(),
                "settings": {"server_url": CONFIG.sso_issuer, "oauth_pkce_enabled": True},
            }
        ]
        if CONFIG.sso_issuer
        else []
    }
}

# People's passwords keep Django's hasher; the last one is for generated client secrets alone.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "subscriptions.authentication.client_secret.SaltedSha256",
]

OAUTH2_PROVIDER_APPLICATION_MODEL = "subscriptions.OAuthClient"
OAUTH2_PROVIDER: dict[str, object] = {
    "ACCESS_TOKEN_EXPIRE_SECONDS": 900,
    "ACCESS_TOKEN_GENERATOR": "subscriptions.authentication.oauth.new_text",
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
    "CIMD_ENABLED": False,
    "CLIENT_SECRET_HASHER": "client_sha256",
    "DCR_ENABLED": False,
    "OIDC_ENABLED": False,
    "OAUTH2_VALIDATOR_CLASS": "subscriptions.authentication.oauth_rules.HubValidator",
    "PKCE_REQUIRED": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "ROTATE_REFRESH_TOKEN": True,
    "SCOPES_BACKEND_CLASS": "subscriptions.authentication.oauth_rules.HubScopes",
    # RFC 9700, all of it.
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_SCHEME": True,
    "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
}


def mail_server(url: str | None) -> dict[str, object]:
    """Return Django's settings for ``smtp://user:password@host:port``, ``smtps://`` or no mail."""
    if url is None:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    parts = urlsplit(url)
    is_tls = parts.scheme == "smtps"
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname or "localhost",
        "EMAIL_PORT": parts.port or (465 if is_tls else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": is_tls,
        # A password is never sent in the clear.
        "EMAIL_USE_TLS": not is_tls and bool(parts.username),
    }


vars().update(mail_server(CONFIG.mail_url.get_secret_value() if CONFIG.mail_url else None))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = CONFIG.mail_from

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["kafkahub.formats"]

STATIC_URL = "/static/"
# Elsewhere files are served from where they lie, and nothing is collected.
STATIC_ROOT = BASE_DIR / "var" / "static" if CONFIG.environment == "production" else None
STATICFILES_DIRS = [BASE_DIR / "kafkahub" / "static"]
WHITENOISE_USE_FINDERS = CONFIG.environment != "production"
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if CONFIG.environment == "production"
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

SESSION_COOKIE_AGE = 43_200
SESSION_COOKIE_NAME = "__Host-session" if IS_PUBLIC else "session"
SESSION_COOKIE_SECURE = IS_PUBLIC
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-csrf" if IS_PUBLIC else "csrf"
CSRF_COOKIE_SECURE = IS_PUBLIC
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Strict"
SECURE_SSL_REDIRECT = IS_PUBLIC
SECURE_HSTS_SECONDS = 31_536_000 if IS_PUBLIC else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_PUBLIC
SECURE_HSTS_PRELOAD = IS_PUBLIC
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CONFIG.trusted_proxies else None
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1_000
DATA_UPLOAD_MAX_NUMBER_FILES = 5

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

REST_FRAMEWORK: dict[
    str, object
] = {}  # every view of ours derives from kafkahub.drf, which says it all
SPECTACULAR_SETTINGS: dict[str, object] = {
    "TITLE": "KafkaHub control API",
    "DESCRIPTION": "Apache Kafka topics as signed webhooks: endpoints, subscriptions, deliveries.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": ["kafkahub.drf.schema.tidy"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "LICENSE": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
LOGGING_CONFIG = None  # kafkahub.observability.logs sets logging up, once a process
