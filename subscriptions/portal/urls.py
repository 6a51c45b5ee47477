"""Addresses of this app's pages, below ``/portal/<partner>/``."""

from django.urls import path

from subscriptions.portal import alerts, endpoints, keys, members, start, subscriptions, support

urlpatterns = [
    path("", start.Start.as_view()),
    path("start", start.Start.as_view()),
    path("start/steps", start.StartSteps.as_view()),
    path("keys", keys.Keys.as_view()),
    path("keys/<str:key>", keys.Key.as_view()),
    path("keys/<str:key>/use", keys.KeyUse.as_view()),
    path("endpoints", endpoints.Endpoints.as_view()),
    path("endpoints/new", endpoints.NewEndpoint.as_view()),
    path("endpoints/<str:endpoint>", endpoints.Endpoint.as_view()),
    path("subscriptions", subscriptions.Subscriptions.as_view()),
    path("subscriptions/new", subscriptions.NewSubscription.as_view()),
    path("subscriptions/try", subscriptions.TryFilter.as_view()),
    path("subscriptions/<str:subscription>", subscriptions.OneSubscription.as_view()),
    path("members", members.Members.as_view()),
    path("members/<str:who>", members.OneMember.as_view()),
    path("support/end", support.EndVisit.as_view()),
    path("alerts", alerts.Alerts.as_view()),
]
