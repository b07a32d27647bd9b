from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"

    def ready(self) -> None:
        from ledger import listed
        from moderation import personal, selectors

        listed.leave_out(selectors.shown, selectors.version)
        personal.register()
