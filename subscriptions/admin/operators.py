"""Operators and their roles: Django's users and groups, audited, no hash ever shown."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth import admin as stock
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from subscriptions import audit
from subscriptions.admin.base import AuditedAdmin, actor_of

if TYPE_CHECKING:
    StockUserAdmin = stock.UserAdmin[User]
else:
    StockUserAdmin = stock.UserAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class OperatorAdmin(AuditedAdmin[User], StockUserAdmin):
    """People who may sign in here."""

    noun = "operator"
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")

    @transaction.atomic
    def user_change_password(
        self,
        request: HttpRequest,
        id: str,  # noqa: A002 - Django's signature
        form_url: str = "",
    ) -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        if isinstance(response, HttpResponseRedirect):
            user = User.objects.get(pk=id)
            audit.append(
                actor_of(request),
                audit.Verb.OPERATOR_UPDATED,
                user,
                {"password": audit.SECRET},
            )
        return response


@admin.register(Group)
class RoleAdmin(AuditedAdmin[Group], stock.GroupAdmin):
    """Sets of permissions, given to operators."""

    noun = "role"
