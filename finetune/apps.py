from django.apps import AppConfig


class FinetuneConfig(AppConfig):
    name = "finetune"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import attention
        from finetune import personal, selectors

        if selectors.task_pages not in attention.TASK_PAGES:
            attention.TASK_PAGES.append(selectors.task_pages)
        personal.register()
