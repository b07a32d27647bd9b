from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import own_use
        from inference import personal, shares, spend
        from moderation import above
        from moderation.subjects import SubjectKind

        if spend.uses not in own_use.SOURCES:
            own_use.SOURCES.append(spend.uses)
        personal.register()
        above.register(
            SubjectKind.SHARE,
            above.Source(shares.living, shares.owners, shares.desk_path, shares.cleaned),
        )
