"""Who signed in. A person is a wallet address; there are no passwords and no e-mail addresses."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

from chain.fields import AddressField


class UserManager(BaseUserManager["User"]):
    def for_address(self, address: str) -> User:
        """The user of an EIP-55 address, created on first sight."""
        user, created = self.get_or_create(address=address)
        if created:
            user.set_unusable_password()
            user.save(update_fields=["password"])
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """A wallet that signed in with Ethereum (SIWE)."""

    address = AddressField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "address"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    def __str__(self) -> str:
        return self.address

    @property
    def is_staff(self) -> bool:
        return self.is_superuser
