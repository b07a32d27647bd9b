from django.apps import AppConfig


class AttestationConfig(AppConfig):
    name = "attestation"

    def ready(self) -> None:
        from attestation import checks  # noqa: F401
