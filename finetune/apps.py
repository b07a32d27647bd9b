from django.apps import AppConfig


class FinetuneConfig(AppConfig):
    name = "finetune"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import crypto
        from finetune import files, personal

        if files.rotate not in crypto.ROTATIONS:
            crypto.ROTATIONS.append(files.rotate)
        personal.register()
