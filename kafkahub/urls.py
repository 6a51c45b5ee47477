"""One include per app."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from subscriptions.portal.index import Portals

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("", include("subscriptions.signin.urls")),
    path("portal/", Portals.as_view()),
    path("portal/<str:partner>/", include("subscriptions.portal.urls")),
    path("portal/<str:partner>/", include("delivery.portal.urls")),
    path("portal/<str:partner>/", include("gateway.portal.urls")),
    path("api/v1/", include("delivery.urls")),  # first: /endpoints/check is no endpoint
    path("api/v1/", include("subscriptions.urls")),
    path(".well-known/kafkahub/", include("subscriptions.well_known")),
    path("webhooks/consent/", include("subscriptions.consent")),
    path("", include("subscriptions.oauth.urls")),
    path("", include("gateway.urls")),
]

handler400 = "kafkahub.drf.answers.bad_request"
handler404 = "kafkahub.drf.answers.not_found"
handler500 = "kafkahub.drf.answers.server_error"
