from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        """A key that cannot seal stops every process at its start, not at the first secret."""
        from accounts import crypto, personal_own, watching

        crypto.require_keys()
        watching.connect()
        personal_own.register()
