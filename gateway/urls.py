"""Pages of the gateway; its wire protocols are routed before Django."""

from django.urls import path

from gateway.portal.live import LiveStream

urlpatterns = [path("docs/streams/live", LiveStream.as_view(), name="live_stream")]
