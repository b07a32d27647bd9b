from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "alerts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import crypto
        from alerts import hooks, personal

        if hooks.rotate not in crypto.ROTATIONS:
            crypto.ROTATIONS.append(hooks.rotate)
        personal.register()
