"""The one form of `/admin/`: which roles somebody has, and whether they may sign in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from accounts import roles, sessions
from accounts.http import unless_fresh
from accounts.models import User
from accounts.roles import Role, given
from moderation import audit
from ops.admin import ReadOnly, may_change
from ops.site import site


class UserForm(forms.ModelForm[User]):
    """Checked against who is asking (`asker`), which the admin sets."""

    asker: User

    roles = forms.MultipleChoiceField(
        choices=Role.choices, required=False, widget=forms.CheckboxSelectMultiple
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Kept in the record of what staff does; the person does not see it.",
    )

    class Meta:
        model = User
        fields = ("is_active",)
        widgets = {"is_active": UnfoldBooleanSwitchWidget()}  # noqa: RUF012
        labels = {"is_active": "May sign in"}  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "roles" in self.fields:
            self.fields["roles"].initial = [str(role) for role in given(self.instance)]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.instance.pk == self.asker.pk:
            raise ValidationError("Nobody changes their own roles or locks themselves out.")
        if self.instance.is_superuser and not self.asker.is_superuser:
            raise ValidationError("Superusers are changed by superusers.")
        return cleaned


class UserAdmin(ReadOnly):
    form = UserForm
    list_display = ("address", "held", "is_active", "created_at", "last_login")
    list_filter = ("is_active", "groups")
    search_fields = ("=address", "=password_account__name")
    ordering = ("-pk",)
    fields = ("address", "is_active", "roles", "reason", "created_at", "last_login")
    readonly_fields = ("address", "created_at", "last_login")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        found: QuerySet[User] = super().get_queryset(request).prefetch_related("groups")
        return found

    def held(self, user: User) -> str:
        if user.is_superuser:
            return "superuser"
        names = {group.name for group in user.groups.all()} & set(Role.values)
        return ", ".join(sorted(names)) or "–"

    held.short_description = "roles"  # type: ignore[attr-defined]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_change(request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Auditors see what the form would change, without the form."""
        if may_change(request):
            return self.fields
        return ("address", "is_active", "held", "created_at", "last_login")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if may_change(request) else self.get_fields(request, obj)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.asker = request.user
        return form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "POST":
            if not may_change(request):
                raise PermissionDenied(roles.needed(Role.ADMIN))
            if (asked := unless_fresh(request, "Roles", request.path)) is not None:
                return asked
        answer: HttpResponse = super().changeform_view(request, *args, **kwargs)
        return answer

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """The row, the roles and the record of both, in the admin's one transaction."""
        wanted = {Role(name) for name in form.cleaned_data["roles"]}
        stored = User.objects.select_for_update().get(pk=obj.pk)
        audit.lock()
        # Of two admins who take each other's role at once the second has none any more.
        assert isinstance(request.user, User)
        if Role.ADMIN not in roles.of(User.objects.get(pk=request.user.pk)):
            raise PermissionDenied(roles.needed(Role.ADMIN))
        had, was_active = given(stored), stored.is_active
        User.objects.filter(pk=obj.pk).update(is_active=obj.is_active)
        for role in wanted - had:
            roles.give(obj, role)
        for role in had - wanted:
            roles.take(obj, role)
        before = {"roles": sorted(had), "may_sign_in": was_active}
        after = {"roles": sorted(wanted), "may_sign_in": obj.is_active}
        if before == after:
            return
        if was_active and not obj.is_active:
            sessions.end_all(obj)
        audit.record(
            request.user,
            "roles_changed" if had != wanted else "access_changed",
            ("user", obj.address),
            area="admin",
            reason=form.cleaned_data["reason"],
            before=before,
            after=after,
            request=request,
        )

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit chain is the record; Django's own would be a second, changeable one."""
        return None


site.register(User, UserAdmin)
