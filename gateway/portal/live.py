"""The page that streams live: what the browser guide describes, to be tried out."""

from django.views.generic import TemplateView


class LiveStream(TemplateView):
    """Holds no data and needs no login: what it shows comes from a stream that the visitor opens
    with a ticket or key of their own.
    """

    template_name = "gateway/live.html"
