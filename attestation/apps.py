from django.apps import AppConfig


class AttestationConfig(AppConfig):
    name = "attestation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from attestation import checks  # noqa: F401
