from django.apps import AppConfig


class MarketplaceConfig(AppConfig):
    name = "marketplace"

    def ready(self) -> None:
        from accounts import personal
        from marketplace import models, retention

        personal.ask_of_retention(retention.words)
        site = (models.Look, models.ComponentDay, models.Announcement, models.Update)
        personal.register(apart=dict.fromkeys(site, "how the site was, and what was said about it"))
