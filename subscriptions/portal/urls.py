"""Addresses of this app's pages, below ``/portal/<partner>/``."""

from django.urls import path

from subscriptions.portal import keys, start

urlpatterns = [
    path("", start.Start.as_view()),
    path("start", start.Start.as_view()),
    path("start/steps", start.StartSteps.as_view()),
    path("keys", keys.Keys.as_view()),
    path("keys/<str:key>", keys.Key.as_view()),
    path("keys/<str:key>/use", keys.KeyUse.as_view()),
]
