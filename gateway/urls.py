"""Pages of the gateway; its wire protocols are routed before Django."""

from django.urls import path

from gateway.portal.contract import proto
from gateway.portal.live import LiveStream

urlpatterns = [
    path("api/v1/kafkahub.proto", proto, name="grpc_contract"),
    path("docs/streams/live", LiveStream.as_view(), name="live_stream"),
]
