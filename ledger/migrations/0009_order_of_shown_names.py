"""Services in the order of the names that are shown: of fine-tuning the first model it tunes, and
without any name last."""

from django.db import migrations, models
from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Left, NullIf

SHOWN = Case(
    When(kind="fine-tuning", then=KT("model_list__0")),
    default=F("model"),
    output_field=TextField(),
)


class Migration(migrations.Migration):
    dependencies = [("ledger", "0008_refused_settlements")]

    operations = [
        migrations.RemoveIndex("service", "service_in_order"),
        migrations.AddIndex(
            "service",
            models.Index(
                Left(NullIf(SHOWN, Value("")), 100),
                "kind",
                "provider",
                "serving",
                condition=Q(shadowed=False, removed=False),
                name="service_in_order",
            ),
        ),
    ]
