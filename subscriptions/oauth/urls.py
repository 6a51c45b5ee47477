"""The addresses of the OAuth server: these, and none of those that its package brings."""

from django.urls import path

from subscriptions.oauth import views

urlpatterns = [
    path("oauth/token/", views.token),
    path("oauth/revoke_token/", views.revoke),
    path("oauth/introspect/", views.introspect),
    path(".well-known/oauth-authorization-server", views.server_metadata),
    path(".well-known/oauth-protected-resource", views.resource_metadata),
]
