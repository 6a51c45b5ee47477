"""Routes below ``/.well-known/kafkahub/``: what anybody may read."""

from django.urls import path

from subscriptions.key_sets import key_set

urlpatterns = [path("keys/<str:endpoint>.json", key_set)]
