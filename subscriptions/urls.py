"""Routes of the control API below ``/api/v1/``."""

from django.urls import path

from subscriptions.api import (
    endpoints,
    filters,
    keys,
    openapi,
    partners,
    secrets,
    streams,
    subscriptions,
    tickets,
    topics,
    usage,
)

urlpatterns = [
    path("openapi.json", openapi.OpenApi.as_view()),
    path("partner", partners.Profile.as_view()),
    path("topics", topics.Topics.as_view()),
    path("topics/<str:topic>", topics.OneTopic.as_view()),
    path("event-types", topics.EventTypes.as_view()),
    path("event-types/<str:event_type>", topics.OneEventType.as_view()),
    path("api-keys", keys.Keys.as_view()),
    path("api-keys/<str:key>", keys.OneKey.as_view()),
    path("api-keys/<str:key>/rotate", keys.RotateKey.as_view()),
    path("endpoints", endpoints.Endpoints.as_view()),
    path("endpoints/<str:endpoint>", endpoints.OneEndpoint.as_view()),
    path("endpoints/<str:endpoint>/enable", endpoints.EnableEndpoint.as_view()),
    path("endpoints/<str:endpoint>/disable", endpoints.DisableEndpoint.as_view()),
    path("endpoints/<str:endpoint>/secrets", secrets.Secrets.as_view()),
    path("endpoints/<str:endpoint>/secrets/<str:secret>", secrets.OneSecret.as_view()),
    path("subscriptions", subscriptions.Subscriptions.as_view()),
    path("subscriptions/<str:subscription>", subscriptions.OneSubscription.as_view()),
    path("subscriptions/<str:subscription>/pause", subscriptions.PauseSubscription.as_view()),
    path("subscriptions/<str:subscription>/resume", subscriptions.ResumeSubscription.as_view()),
    path("streams", streams.Streams.as_view()),
    path("streams/<str:stream>", streams.OneStream.as_view()),
    path("stream-tickets", tickets.Tickets.as_view()),
    path("stream-tickets/cookie", tickets.TicketCookie.as_view()),
    path("stream-tickets/<str:ticket>", tickets.OneTicket.as_view()),
    path("usage", usage.Usage.as_view()),
    path("filters/explain", filters.ExplainFilter.as_view()),
]
