from django.apps import AppConfig
from django.contrib.postgres.indexes import OpClass
from django.db.models.expressions import OrderBy
from django.db.models.functions import Collate
from django.db.models.indexes import IndexExpression


class LedgerConfig(AppConfig):
    name = "ledger"

    def ready(self) -> None:
        # `OpClass` in an index, as `django.contrib.postgres` would: all of that app that is needed.
        IndexExpression.register_wrappers(OrderBy, OpClass, Collate)
