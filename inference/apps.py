from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import own_use
        from inference import personal, spend

        if spend.uses not in own_use.SOURCES:
            own_use.SOURCES.append(spend.uses)
        personal.register()
