"""Template tags of the operators' pages."""

from collections.abc import Mapping, Sequence

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.simple_tag
def labelled(cell: SafeString, headers: Sequence[Mapping[str, object]], index: int) -> SafeString:
    """Return a rendered ``<td>`` or ``<th>`` with its column's name as ``data-label``.

    On a narrow screen a row becomes a card, and each cell says by itself what it holds.
    """
    name = str(headers[index].get("text", "")) if index < len(headers) else ""
    if not name.strip() or name.startswith("<") or not cell.startswith(("<td ", "<th ")):
        return cell
    opening, _, rest = str(cell).partition(" ")
    # The cell comes from Django, escaped already; only the label is ours to escape.
    return mark_safe(f'{opening} data-label="{escape(name.capitalize())}" {rest}')  # noqa: S308
