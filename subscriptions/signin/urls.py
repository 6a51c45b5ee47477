"""Addresses of signing in: only those that are needed, so nothing of the package opens unseen."""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount import views as social
from allauth.socialaccount.providers.openid_connect import views as oidc
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import path

from subscriptions.signin.sso import may_lead_there
from subscriptions.signin.views import Account, Invited


def to_login(_: HttpRequest) -> HttpResponseRedirect:
    """Stands where the package would let people sign up, or change what is no choice here."""
    return HttpResponseRedirect("/account/login/")


urlpatterns = [
    path("invite/<str:text>", may_lead_there(Invited.as_view()), name="invitation"),
    path("account/", Account.as_view(), name="account"),
    path("account/login/", may_lead_there(account.login), name="account_login"),
    path("account/logout/", account.logout, name="account_logout"),
    path("account/inactive/", account.account_inactive, name="account_inactive"),
    path("account/reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("account/password/", account.password_change, name="account_change_password"),
    path("account/sign-up/", to_login, name="account_signup"),
    path("account/second-factor/", mfa.index, name="mfa_index"),
    path("account/second-factor/code/", mfa.authenticate, name="mfa_authenticate"),
    path("account/second-factor/again/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("account/second-factor/app/", totp.activate_totp, name="mfa_activate_totp"),
    path("account/second-factor/app/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("account/recovery/", recovery.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        "account/recovery/new/",
        recovery.generate_recovery_codes,
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/recovery/file/",
        recovery.download_recovery_codes,
        name="mfa_download_recovery_codes",
    ),
    path("account/passkeys/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path("account/passkeys/add/", webauthn.add_webauthn, name="mfa_add_webauthn"),
    path(
        "account/passkeys/again/",
        webauthn.reauthenticate_webauthn,
        name="mfa_reauthenticate_webauthn",
    ),
    path("account/passkeys/sign-in/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path("account/passkeys/<int:pk>/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path("account/passkeys/<int:pk>/remove/", webauthn.remove_webauthn, name="mfa_remove_webauthn"),
    path("account/company/<str:provider_id>/", oidc.login, name="openid_connect_login"),
    path("account/company/<str:provider_id>/back/", oidc.callback, name="openid_connect_callback"),
    path("account/company-refused/", social.login_error, name="socialaccount_login_error"),
    path(
        "account/company-cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"
    ),
    path("account/company-sign-up/", social.signup, name="socialaccount_signup"),
]
