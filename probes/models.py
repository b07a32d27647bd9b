"""What we measured from outside: one row per probe, and what is counted from them.

A `Probe` is never rewritten. `Bucket` and `Health` are derived: `probes.services` makes them again
from what is stored. Rows with `example` were made by `seed_demo --history` and measured nobody;
whatever shows them says so. `ExchangeRate` is what an outside source says about 0G.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from attestation.models import MAX_SERVICE_NAME
from chain.fields import AddressField


class State(models.TextChoices):
    """`degraded`: it answers, but not as its listing says or not in time (`probes.seen`)."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class Speed(models.TextChoices):
    """How a small question was asked: by the site's wallet, or where nobody has to pay."""

    NONE = ""
    PAID = "paid"
    UNPAID = "unpaid"


class Probe(models.Model):
    """One look at one service from outside; append-only. NULL: not looked at in this probe."""

    serving = AddressField(help_text="with `provider`: joins with `ledger.Service`")
    provider = AddressField()
    kind = models.CharField(max_length=100)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)
    at = models.DateTimeField(help_text="when it began")
    url = models.TextField(help_text="that was asked")
    state = models.CharField(max_length=8, choices=State.choices)
    failure = models.CharField(max_length=16, default="", help_text="`probes.seen.FAILURES`")
    note = models.TextField(default="", help_text="why it is not up, in our words")
    status = models.IntegerField(default=0, help_text="HTTP status; 0 = no answer came")
    answer_ms = models.IntegerField(null=True, help_text="until the model list was read")
    tls_days = models.IntegerField(null=True, help_text="left of the certificate; NULL without TLS")
    cors = models.BooleanField(null=True, help_text="a browser may ask it from our pages")
    model_listed = models.BooleanField(null=True, help_text="its own list names its model")
    speed = models.CharField(max_length=6, choices=Speed.choices, default=Speed.NONE, blank=True)
    first_token_ms = models.IntegerField(null=True)
    tokens = models.IntegerField(null=True, help_text="of the answer, by the provider's count")
    stream_ms = models.IntegerField(null=True, help_text="from the first token to the last")
    usage_last = models.BooleanField(null=True, help_text="its final chunk says what was used")
    example = models.BooleanField(default=False)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["provider", "-at"], name="probe_of_provider"),
            models.Index(fields=["at"], name="probe_age"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.at:%Y-%m-%d %H:%M} {self.state}"


class Bucket(models.Model):
    """A quarter of an hour, an hour or a day of one service, counted from its probes.

    A service that does not answer is asked less often, so shares are means over cells (quarters of
    an hour with at least one probe), never over probes.
    """

    serving = AddressField()
    provider = AddressField()
    span = models.IntegerField(help_text="seconds: 900, 3600 or 86400")
    start = models.DateTimeField()
    probes = models.IntegerField()
    cells = models.IntegerField(help_text="quarters of an hour with a probe")
    answered = models.IntegerField(help_text="sum of the cells' shares that answered, 1/10000")
    good = models.IntegerField(help_text="sum of the cells' shares that were up, 1/10000")
    answer_ms = ArrayField(models.IntegerField(), help_text="median of each cell")
    first_token_ms = ArrayField(models.IntegerField(), help_text="every one measured")
    tokens_per_10s = ArrayField(models.IntegerField(), help_text="of every answer measured")
    example = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["serving", "provider", "span", "start"], name="bucket_once"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["span", "start"], name="bucket_age"),
            models.Index(fields=["provider", "span", "start"], name="bucket_of_provider"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.start:%Y-%m-%d %H:%M} {self.span}"


class Health(models.Model):
    """What is known about one service now, and when it is looked at next; derived and replaced."""

    serving = AddressField()
    provider = AddressField()
    kind = models.CharField(max_length=100)
    service_name = models.CharField(max_length=MAX_SERVICE_NAME)

    url = models.TextField(default="", help_text="of the listing that was last probed")
    next_at = models.DateTimeField(null=True, help_text="not before this; NULL = now")
    failures = models.IntegerField(default=0, help_text="in a row")
    thorough_at = models.DateTimeField(null=True, help_text="last look at CORS and speed")
    rules_at = models.DateTimeField(null=True, help_text="when its robots.txt was last asked for")
    opted_out = models.BooleanField(default=False)

    state = models.CharField(max_length=8, choices=State.choices, default="", blank=True)
    since = models.DateTimeField(null=True, help_text="first probe of this state in a row")
    checked_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=16, default="")
    note = models.TextField(default="")
    tls_days = models.IntegerField(null=True)
    cors = models.BooleanField(null=True)
    model_listed = models.BooleanField(null=True)
    usage_last = models.BooleanField(null=True)

    uptime_24h = models.IntegerField(null=True, help_text="1/10000 of measured cells")
    probes_24h = models.IntegerField(default=0)
    cells_24h = models.IntegerField(default=0)
    uptime_7d = models.IntegerField(null=True)
    probes_7d = models.IntegerField(default=0)
    cells_7d = models.IntegerField(default=0)
    uptime_90d = models.IntegerField(null=True)
    probes_90d = models.IntegerField(default=0)
    cells_90d = models.IntegerField(default=0)
    #: Of the last 7 days.
    answer_p50 = models.IntegerField(null=True, help_text="ms")
    answer_p95 = models.IntegerField(null=True)
    answer_n = models.IntegerField(default=0)
    first_token_p50 = models.IntegerField(null=True, help_text="ms")
    first_token_p95 = models.IntegerField(null=True)
    first_token_n = models.IntegerField(default=0)
    tokens_p50 = models.IntegerField(null=True, help_text="tokens per 10 s")
    tokens_p5 = models.IntegerField(null=True, help_text="19 of 20 answers were faster")
    tokens_n = models.IntegerField(default=0)
    bar = models.CharField(max_length=28, default="", help_text="7 days in cells of 6 hours")
    bar_end = models.DateTimeField(null=True, help_text="end of the last cell")
    example = models.BooleanField(default=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["serving", "provider"], name="health_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["provider"], name="health_of_provider"),
            models.Index(fields=["next_at"], name="health_due"),
            models.Index(fields=["-updated_at"], name="health_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.provider} {self.state or 'no data'}"


class ExchangeRate(models.Model):
    """What 1 0G cost in US dollars, by the word of one source; append-only (`probes.exchange`)."""

    source = models.CharField(max_length=253, help_text="host that was asked")
    quoted_at = models.DateTimeField(help_text="of which moment it says so")
    micro = models.BigIntegerField(help_text="millionths of a US dollar")
    at = models.DateTimeField(auto_now_add=True, help_text="when it was asked")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # Its index leads to the newest of a source too.
            models.UniqueConstraint(fields=["source", "quoted_at"], name="rate_once")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.quoted_at:%Y-%m-%d %H:%M}"


class Sharer(models.Model):
    """Somebody who lets the times of their answers count (`inference.timings`), from then on."""

    user = models.BigIntegerField(unique=True, help_text="primary key of a user")
    since = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.user} since {self.since:%Y-%m-%d}"
