from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import crypto
        from ops import personal
        from ops.failures import connect
        from ops.staff import rotate

        connect()
        if rotate not in crypto.ROTATIONS:
            crypto.ROTATIONS.append(rotate)
        personal.register()
