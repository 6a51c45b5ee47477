"""Two pages that actions need: one that asks before, one that shows a secret once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from subscriptions.admin.base import MAX_SELECTED, HubAdmin, M, run_each


class ReasonForm(forms.Form):
    """Why something is done, for the audit log."""

    reason = forms.CharField(max_length=200, required=False, help_text="Kept in the audit log.")


class Question(NamedTuple):
    """What an action asks before it acts.

    action  name of the action, which is sent again with the answer
    effect  one sentence that says what will happen
    button  the effect in two or three words
    """

    action: str
    effect: str
    button: str


class Shown(NamedTuple):
    """A secret that is shown once: whose it is, and its text."""

    name: str
    secret: str


def ask(
    request: HttpRequest,
    queryset: QuerySet[Any],
    question: Question,
    form_class: type[forms.Form] = ReasonForm,
) -> tuple[forms.Form, TemplateResponse | None]:
    """Return the answered form and None, or the page that asks.

    The selected objects and the action travel as hidden fields, so the answer comes back to the
    same action with the same objects.
    """
    is_answer = "confirmed" in request.POST
    form = form_class(request.POST if is_answer else None)
    if is_answer and form.is_valid():
        return form, None
    page = admin.site.get_model_admin(queryset.model)
    context = {
        **admin.site.each_context(request),
        "is_dangerous": isinstance(page, HubAdmin) and question.action in page.dangerous_actions,
        "title": question.button,
        "opts": queryset.model._meta,
        "objects": queryset,
        "question": question,
        "form": form,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return form, TemplateResponse(request, "admin/ask.html", context)


def show_once(
    request: HttpRequest, model: type[Model], title: str, shown: Sequence[Shown]
) -> TemplateResponse:
    """Return a page with secrets that are stored nowhere in this form, or cannot be read again."""
    context = {
        **admin.site.each_context(request),
        "title": title,
        "opts": model._meta,
        "shown": shown,
    }
    return TemplateResponse(request, "admin/show_once.html", context)


_MADE: WeakKeyDictionary[HttpRequest, Shown] = WeakKeyDictionary()
"""Secrets on their way from the saving of a form to its answer, and nowhere else."""


def keep(request: HttpRequest, shown: Shown) -> None:
    """Hold a secret until the answer of this request is made."""
    _MADE[request] = shown


def take(request: HttpRequest) -> Shown:
    """Return the secret that this request made."""
    return _MADE.pop(request)


def ask_then(
    request: HttpRequest,
    queryset: QuerySet[M],
    question: Question,
    act: Callable[[M, str], object],
    *,
    done: str,
    form_class: type[forms.Form] = ReasonForm,
) -> TemplateResponse | None:
    """Ask, then take the action on each object with the reason given, "" where none is asked."""
    if is_too_many(request, queryset):
        return None
    form, page = ask(request, queryset, question, form_class)
    if page is None:
        reason = form.cleaned_data.get("reason", "")
        run_each(request, queryset, lambda obj: act(obj, reason), done)
    return page


def show_each(
    request: HttpRequest,
    queryset: QuerySet[M],
    question: Question,
    make: Callable[[M], Shown],
    *,
    done: str,
) -> TemplateResponse | None:
    """Ask, then make one secret for each object and show them all once."""
    if is_too_many(request, queryset):
        return None
    _, page = ask(request, queryset, question, forms.Form)
    if page is not None:
        return page
    shown: list[Shown] = []
    run_each(request, queryset, lambda obj: shown.append(make(obj)), done)
    return show_once(request, queryset.model, question.button, shown) if shown else None


def is_too_many(request: HttpRequest, queryset: QuerySet[Any]) -> bool:
    """Return whether more is selected than one action takes, and say so."""
    if queryset[: MAX_SELECTED + 1].count() <= MAX_SELECTED:
        return False
    messages.error(request, f"Select {MAX_SELECTED} objects at most.")
    return True
