from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "ops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from marketplace import metrics
        from ops import personal
        from ops.failures import connect
        from ops.metrics import Host

        connect()
        if Host not in metrics.COLLECTORS:
            metrics.COLLECTORS.append(Host)
        personal.register()
