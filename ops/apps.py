from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import crypto
        from marketplace import metrics
        from ops import personal
        from ops.failures import connect
        from ops.metrics import Host
        from ops.staff import rotate

        connect()
        if Host not in metrics.COLLECTORS:
            metrics.COLLECTORS.append(Host)
        if rotate not in crypto.ROTATIONS:
            crypto.ROTATIONS.append(rotate)
        personal.register()
