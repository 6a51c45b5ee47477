"""Addresses of this app's pages, below ``/portal/<partner>/``."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
