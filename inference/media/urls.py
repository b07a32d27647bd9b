"""Paths of pictures, speech and embeddings (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from inference.media import views, views_speech, views_vectors, views_works
from inference.models import Medium

_IMAGES = {"medium": Medium.IMAGES}
_SPEECH = {"medium": Medium.SPEECH}
_EMBED = {"medium": Medium.EMBED}

urlpatterns: list[URLPattern | URLResolver] = [
    path("playground/images", views.images, name="images"),
    path("playground/images/make", views.make, name="images_make"),
    path("playground/images/able", views.able, name="images_able"),
    path("playground/images.zip", views.everything, name="images_zip"),
    path("playground/images/<uuid:chat>", views.work, name="work"),
    path("playground/images/<uuid:chat>/card", views.card, name="card"),
    path("playground/images/<uuid:chat>/delete", views_works.delete, _IMAGES, name="images_delete"),
    path("playground/images/<uuid:chat>/undo", views_works.undo, _IMAGES, name="images_undo"),
    path(
        "playground/images/<uuid:chat>/recheck", views_works.recheck, _IMAGES, name="images_recheck"
    ),
    path("playground/files/<uuid:file>", views.file, name="file"),
    path("playground/audio", views_speech.audio, name="audio"),
    path("playground/audio/transcribe", views_speech.transcribe, name="audio_transcribe"),
    path("playground/audio/<uuid:chat>", views_speech.transcript, name="transcript"),
    path("playground/audio/<uuid:chat>/body", views_speech.body, name="transcript_body"),
    path("playground/audio/<uuid:chat>/go-on", views_speech.go_on, name="go_on"),
    path("playground/audio/<uuid:chat>/recording.wav", views_speech.recording, name="recording"),
    path("playground/audio/<uuid:chat>/delete", views_works.delete, _SPEECH, name="audio_delete"),
    path("playground/audio/<uuid:chat>/undo", views_works.undo, _SPEECH, name="audio_undo"),
    path(
        "playground/audio/<uuid:chat>/recheck", views_works.recheck, _SPEECH, name="audio_recheck"
    ),
    path(
        "playground/audio/<uuid:chat>.<slug:form>",
        views_speech.download,
        name="transcript_download",
    ),
    path("playground/embeddings", views_vectors.embeddings, name="embeddings"),
    path("playground/embeddings/embed", views_vectors.embed, name="embeddings_make"),
    path("playground/embeddings/estimate", views_vectors.estimate, name="embeddings_estimate"),
    path("playground/embeddings/<uuid:chat>", views_vectors.embedded, name="embedded"),
    path("playground/embeddings/<uuid:chat>/body", views_vectors.body, name="embedded_body"),
    path(
        "playground/embeddings/<uuid:chat>/delete",
        views_works.delete,
        _EMBED,
        name="embeddings_delete",
    ),
    path(
        "playground/embeddings/<uuid:chat>/undo", views_works.undo, _EMBED, name="embeddings_undo"
    ),
    path(
        "playground/embeddings/<uuid:chat>/recheck",
        views_works.recheck,
        _EMBED,
        name="embeddings_recheck",
    ),
    path(
        "playground/embeddings/<uuid:chat>.<slug:form>",
        views_vectors.download,
        name="embedded_download",
    ),
]
