"""People of partners: invited here, and looked after by their owners in the portal."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from kafkahub import config
from subscriptions.actions import members as verbs
from subscriptions.admin.base import AnyForm, HubAdmin, actor_of, run_each
from subscriptions.admin.display import badge
from subscriptions.admin.pages import Question, Shown, ask_then, keep, show_once, take
from subscriptions.models import Invitation, Member, Role


@admin.register(Invitation)
class InvitationAdmin(HubAdmin[Invitation]):
    """A link that makes somebody a member, once, within 24 hours; shown once."""

    is_editable = False
    autocomplete_fields = ("partner",)
    list_display = ("email", "partner", "role", "state", "invited_by", "created_at")
    list_select_related = ("partner",)
    search_fields = ("email", "partner__name", "id")
    actions = ("withdraw",)
    readonly_fields = ("state", "invited_by", "created_at", "expires_at", "used_at")

    def get_fields(self, request: HttpRequest, obj: Invitation | None = None) -> tuple[str, ...]:
        asked = ("partner", "email", "role")
        return (*asked, *self.readonly_fields) if obj else asked

    @admin.display(description="state")
    def state(self, row: Invitation) -> SafeString:
        if row.used_at is not None:
            return badge("used")
        is_open = Invitation.objects.open().filter(pk=row.pk).exists()
        return badge("waiting" if is_open else "expired")

    def save_model(
        self, request: HttpRequest, obj: Invitation, form: AnyForm, change: bool
    ) -> None:
        actor, role = actor_of(request), Role(obj.role)
        row, text = verbs.invite(actor, obj.partner, obj.email, role)
        obj.pk = row.pk
        link = f"{config.load().base_url}/invite/{text}"
        keep(request, Shown(f"Link for {row.email}, good once and for 24 hours", link))

    def response_add(
        self, request: HttpRequest, obj: Invitation, post_url_continue: str | None = None
    ) -> HttpResponse:
        return show_once(request, Invitation, "The invitation", [take(request)])

    @admin.action(description="Withdraw", permissions=["operate"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        actor = actor_of(request)
        run_each(request, queryset, lambda row: verbs.withdraw(actor, row), "withdrawn")


@admin.register(Member)
class MemberAdmin(HubAdmin[Member]):
    """Who may act for a partner."""

    is_addable = False
    is_editable = False
    list_display = ("user", "partner", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "partner")
    search_fields = ("user__username", "partner__name", "id")
    fields = ("id", "user", "partner", "role", "created_at")
    readonly_fields = fields
    actions = ("make_owner", "remove")
    dangerous_actions = frozenset({"remove"})

    @admin.action(description="Make owner", permissions=["operate"])
    def make_owner(self, request: HttpRequest, queryset: QuerySet[Member]) -> None:
        actor = actor_of(request)
        give = Role.OWNER
        run_each(
            request, queryset, lambda row: verbs.change_role(actor, row, give), "are owners now"
        )

    @admin.action(description="Remove", permissions=["operate"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Member]) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "remove", "They open the partner's portal no more, from now on.", "Remove members"
        )
        return ask_then(
            request, queryset, question, lambda row, _: verbs.remove(actor, row), done="removed"
        )
