"""Routes of the control API below ``/api/v1/``."""

from django.urls import path

from delivery.api import (
    attempts,
    checking,
    deliveries,
    health,
    parked,
    positions,
    replays,
    seeking,
    signature_checks,
    stats,
    testing,
    verification,
)

urlpatterns = [
    path("signature-checks", signature_checks.CheckSignature.as_view()),
    path("endpoints/check", checking.CheckUrl.as_view()),
    path("endpoints/<str:endpoint>/check-receiver", checking.CheckReceiver.as_view()),
    path("deliveries", deliveries.Deliveries.as_view()),
    path("deliveries/<str:delivery>", deliveries.OneDelivery.as_view()),
    path("deliveries/<str:delivery>/resend", deliveries.ResendDelivery.as_view()),
    path("attempts", attempts.Attempts.as_view()),
    path("attempts/<str:attempt>", attempts.OneAttempt.as_view()),
    path("parked", parked.ParkedRows.as_view()),
    path("parked/discard", parked.DiscardParked.as_view()),
    path("parked/<str:parked>", parked.OneParked.as_view()),
    path("parked/<str:parked>/payload", parked.ParkedPayload.as_view()),
    path("parked/<str:parked>/redrive", parked.RedriveParked.as_view()),
    path("subscriptions/<str:subscription>/position", positions.SubscriptionPosition.as_view()),
    path("subscriptions/<str:subscription>/seek", seeking.SeekSubscription.as_view()),
    path("replays", replays.Replays.as_view()),
    path("replays/<str:replay>", replays.OneReplay.as_view()),
    path("replays/<str:replay>/start", replays.StartReplay.as_view()),
    path("replays/<str:replay>/pause", replays.PauseReplay.as_view()),
    path("replays/<str:replay>/resume", replays.ResumeReplay.as_view()),
    path("replays/<str:replay>/cancel", replays.CancelReplay.as_view()),
    path("stats", stats.Stats.as_view()),
    path("subscriptions/<str:subscription>/stats", stats.SubscriptionStats.as_view()),
    path("endpoints/<str:endpoint>/health", health.EndpointHealth.as_view()),
    path("endpoints/<str:endpoint>/probe", health.ProbeEndpoint.as_view()),
    path("endpoints/<str:endpoint>/verify", verification.VerifyEndpoint.as_view()),
    path("endpoints/<str:endpoint>/test", testing.SendTest.as_view()),
]
