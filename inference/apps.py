from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import crypto
        from inference import conversations

        if conversations.rotate not in crypto.ROTATIONS:
            crypto.ROTATIONS.append(conversations.rotate)
