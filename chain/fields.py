"""Database fields for chain facts: exact integers and hex text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

from django.db import models

# What may be assigned, and what is read; the django-stubs plugin fills them in per field.
_Set = TypeVar("_Set", contravariant=True)
_Get = TypeVar("_Get", covariant=True)


class NeuronField(models.DecimalField[_Set, _Get]):
    """An exact uint256 (neuron, nonce, bitmap): `numeric(78,0)` in the database, `int` in code."""

    _pyi_private_set_type: int
    _pyi_private_get_type: int  # type: ignore[assignment]
    _pyi_lookup_exact_type: int
    #: uint256 has at most 78 decimal digits.
    digits = 78

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"] = self.digits
        kwargs["decimal_places"] = 0
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("max_digits", None)
        kwargs.pop("decimal_places", None)
        return name, path, list(args), dict(kwargs)

    def from_db_value(self, value: Decimal | None, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> Any:
        return None if value is None else int(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        # An int goes to PostgreSQL as it is: Django's DecimalField would round through a context.
        return None if value is None else Decimal(int(value))


class SumField(NeuronField[_Set, _Get]):
    """A sum of such numbers over as many rows as there can be (2^63)."""

    digits = 97


class _HexField(models.CharField[_Set, _Get]):
    """Text of `length` characters."""

    _pyi_private_set_type: str
    _pyi_private_get_type: str
    length: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = self.length
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("max_length", None)
        return name, path, list(args), dict(kwargs)


class AddressField(_HexField[_Set, _Get]):
    """An EIP-55 address, 42 characters (`0x` + 40 hex digits)."""

    length = 42


class HashField(_HexField[_Set, _Get]):
    """A 32-byte hash as lower-case 0x-hex, 66 characters."""

    length = 66
