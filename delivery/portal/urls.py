"""Addresses of this app's pages, below ``/portal/<partner>/``."""

from django.urls import path

from delivery.portal import deliveries, doctor, health, replays, trying, usage, why

urlpatterns = [
    path("deliveries", deliveries.Deliveries.as_view()),
    path("deliveries/<str:delivery>", deliveries.Delivery.as_view()),
    path("deliveries/<str:delivery>/attempts", deliveries.DeliveryAttempts.as_view()),
    path("check-address", trying.CheckAddress.as_view()),
    path("endpoints/<str:endpoint>/receiver", trying.CheckReceiver.as_view()),
    path("endpoints/<str:endpoint>/health", health.Health.as_view()),
    path("endpoints/<str:endpoint>/probe", health.Probe.as_view()),
    path("endpoints/<str:endpoint>/test", trying.TestRecord.as_view()),
    path("doctor", doctor.Doctor.as_view()),
    path("replays", replays.Replays.as_view()),
    path("replays/<str:replay>", replays.OneReplay.as_view()),
    path("replays/<str:replay>/progress", replays.ReplayProgress.as_view()),
    path("why", why.Why.as_view()),
    path("usage", usage.Usage.as_view()),
]
