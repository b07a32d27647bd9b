from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import crypto, own_use
        from inference import conversations, personal, presets, spend

        for rotate in (conversations.rotate, presets.rotate):
            if rotate not in crypto.ROTATIONS:
                crypto.ROTATIONS.append(rotate)
        if spend.uses not in own_use.SOURCES:
            own_use.SOURCES.append(spend.uses)
        personal.register()
