from django.apps import AppConfig


class FinetuneConfig(AppConfig):
    name = "finetune"

    def ready(self) -> None:
        from accounts import links
        from finetune import personal
        from finetune.models import task_pages

        if task_pages not in links.TASK_PAGES:
            links.TASK_PAGES.append(task_pages)
        personal.register()
