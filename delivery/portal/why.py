"""Why was this not sent? One record of one subscription, asked in the words one has. A fragment."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict

from delivery.portal.deliveries import told, waterfall
from subscriptions.portal.base import PortalPage
from subscriptions.portal.door import NOT_FOUND, Refused

PLACE_PARTS = 3
NOTHING = "No record you may see at this position."
"""Said alike of what the grant hides and of what is not there."""


class Why(PortalPage):
    """The answer to the form on the page of deliveries."""

    template = "parts/why.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        subscription = request.POST.get("why_subscription", "")
        if not subscription:
            return self.show(text="Choose the subscription that should have sent it.")
        try:
            row = self.door.get(f"/subscriptions/{subscription}")
            found = self.door.post("/deliveries/why", _asked(request.POST, row))
        except Refused as refused:
            if refused.status == NOT_FOUND:
                return self.show(text=NOTHING)
            if not refused.is_about_input:
                raise
            texts = [fault["message"] for fault in refused.faults]
            return self.show(text=" ".join(texts) or str(refused))
        attempts = [(one, waterfall(one)) for one in told(self.door, found["attempts"])]
        return self.show(found=found, attempts=attempts)


def _asked(posted: QueryDict, row: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the API's request: an id, a place, a cursor, or a key with its time."""
    body: dict[str, Any] = {"subscription": row["id"]}
    text, key = posted.get("why_record", "").strip(), posted.get("why_key", "").strip()
    if key and not text:
        moment = _moment(posted.get("why_time", ""))
        return {**body, "topic": row["topics"][0], "key": key, "time": moment}
    parts = text.rsplit("/", 2)
    if text.startswith(("msg_", "tst_")):
        return {**body, "id": text}
    if len(parts) == PLACE_PARTS and parts[1].isdecimal() and parts[2].isdecimal():
        place = {"topic": parts[0], "partition": int(parts[1]), "offset": int(parts[2])}
        return {**body, "position": place}
    return {**body, "cursor": text}


def _moment(text: str) -> str:
    """Return the time of HTML's own field as the API takes it, in UTC; others as they are."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.replace(tzinfo=moment.tzinfo or UTC).isoformat()
