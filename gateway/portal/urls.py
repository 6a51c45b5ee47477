"""Addresses of this app's pages, below ``/portal/<partner>/``."""

from django.urls import path

from gateway.portal import console, reference

urlpatterns = [
    path("console", console.Console.as_view()),
    path("console/ticket", console.Ticket.as_view()),
    path("console/snippets", console.Snippets.as_view()),
    path("api", reference.Reference.as_view()),
    path("api/<str:operation>", reference.TryIt.as_view()),
]
