"""Paths of fine-tuning (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from finetune import views, views_doors, views_publish, views_wizard

app_name = "finetune"
_DRAFT, _TASK = "fine-tuning/new/<uuid:draft_id>", "fine-tuning/tasks/<uuid:task_id>"
_DATASET = "fine-tuning/datasets/<uuid:dataset_id>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("fine-tuning", views.index, name="index"),
    path("fine-tuning/compare", views.compare, name="compare"),
    path("fine-tuning/decrypt", views.decrypt, name="decrypt"),
    path("fine-tuning/adopt", views.adopt, name="adopt"),
    path("fine-tuning/usage", views.usage, name="usage"),
    path("fine-tuning/new", views_wizard.new, name="new"),
    path(f"{_DRAFT}/upload/prepare", views_doors.prepare_upload),
    path(f"{_DRAFT}/upload", views_doors.upload),
    path(f"{_DRAFT}/sending", views_doors.sending),
    path(f"{_DRAFT}/task/prepare", views_doors.prepare_task),
    path(f"{_DRAFT}/task", views_doors.create),
    path(f"{_DRAFT}/delete", views_doors.drop_draft, name="draft_drop"),
    path(f"{_DRAFT}/undo", views_doors.undo_draft, name="draft_undo"),
    path(f"{_DRAFT}/<str:name>", views_wizard.step, name="step"),
    path("fine-tuning/datasets", views_doors.begin, name="dataset_begin"),
    path(_DATASET, views_doors.uploaded, name="dataset"),
    path(f"{_DATASET}/pieces/<int:number>", views_doors.piece),
    path(f"{_DATASET}/finish", views_doors.finish),
    path(f"{_DATASET}/delete", views_doors.drop, name="dataset_drop"),
    path(f"{_DATASET}/publish", views_publish.publish, name="publish"),
    path(f"{_DATASET}/confirm", views_publish.confirm),
    path(f"{_DATASET}/submitted", views_publish.submitted),
    path(f"{_DATASET}/rejected", views_publish.rejected),
    path(_TASK, views.task, name="task"),
    path(f"{_TASK}/log", views.log, name="log"),
    path(f"{_TASK}/loss.csv", views.loss, name="loss"),
    path(f"{_TASK}/result", views.result, name="result"),
    path(f"{_TASK}/result/delete", views_doors.delete_result, name="result_delete"),
    path(f"{_TASK}/look", views_doors.look, name="look"),
    path(f"{_TASK}/put-away", views_doors.put_away, name="put_away"),
    path(f"{_TASK}/clone", views_doors.clone, name="clone"),
    path(f"{_TASK}/cancel/prepare", views_doors.prepare_cancel),
    path(f"{_TASK}/cancel", views_doors.cancel, name="cancel"),
    path(f"{_TASK}/fetch/prepare", views_doors.prepare_fetch),
    path(f"{_TASK}/fetch", views_doors.fetch, name="fetch"),
    path(f"{_TASK}/deploy", views_doors.deploy, name="deploy"),
]
