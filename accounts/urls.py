"""Paths of wallet, session and money (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from accounts import api, views_keys, views_session

app_name = "accounts"

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/transactions/preview", api.preview, name="preview"),
    path("account/sign-in/prepare", views_session.prepare, name="sign_in_prepare"),
    path("account/sign-in/verify", views_session.verify, name="sign_in_verify"),
    path("account/sign-out", views_session.sign_out, name="sign_out"),
    path("account/keys/prepare", views_keys.prepare, name="key_prepare"),
    path("account/keys/store", views_keys.store, name="key_store"),
    path("account/keys/<int:key_id>/forget", views_keys.forget, name="key_forget"),
]
