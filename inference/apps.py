from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"

    def ready(self) -> None:
        from accounts import own_use
        from inference import personal, shared_links, spend
        from moderation import above
        from moderation.subjects import SubjectKind

        if spend.uses not in own_use.SOURCES:
            own_use.SOURCES.append(spend.uses)
        personal.register()
        above.register(
            SubjectKind.SHARE,
            above.Source(
                shared_links.living,
                shared_links.owners,
                shared_links.desk_path,
                shared_links.cleaned,
            ),
        )
