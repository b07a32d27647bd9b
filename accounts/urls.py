"""Paths of wallet, session and money (interfaces.md 4)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from accounts import (
    views,
    views_history,
    views_keys,
    views_personal,
    views_refunds,
    views_session,
    views_tokens,
    views_transactions,
)

app_name = "accounts"

urlpatterns: list[URLPattern | URLResolver] = [
    path("account/sign-in/prepare", views_session.prepare, name="sign_in_prepare"),
    path("account/sign-in/verify", views_session.verify, name="sign_in_verify"),
    path("account/sign-out", views_session.sign_out, name="sign_out"),
    path("account", views.account, name="funds"),
    path("account/spendable", views.spendable_now, name="spendable"),
    path("account/refunds", views_refunds.refunds_page, name="refunds"),
    path("account/refunds/collect", views_refunds.collect, name="collect"),
    path("account/devnet/skip", views_refunds.skip_time, name="skip_time"),
    path("account/transactions", views_history.transactions, name="transactions"),
    path("account/transactions.csv", views_history.transactions_csv, name="transactions_csv"),
    path("account/transactions/waiting", views_history.waiting, name="waiting"),
    path("account/transactions/start", views_transactions.start, name="start"),
    path("account/transactions/<uuid:identifier>", views_transactions.detail, name="transaction"),
    path("account/transactions/<uuid:identifier>/status", views_transactions.status),
    path("account/transactions/<uuid:identifier>/confirm", views_transactions.confirm),
    path("account/transactions/<uuid:identifier>/submitted", views_transactions.submitted),
    path("account/transactions/<uuid:identifier>/rejected", views_transactions.rejected),
    path(
        "account/transactions/<uuid:identifier>/discard",
        views_transactions.discard,
        name="discard",
    ),
    path("account/statement", views_history.statement, name="statement"),
    path("account/statement.csv", views_history.statement_csv, name="statement_csv"),
    path("account/analytics", views_history.spending, name="analytics"),
    path("account/keys", views.keys, name="keys"),
    path("accounts/<str:address>", views.public_account, name="public_account"),
    path("account/keys/new", views_keys.prepare_lasting, name="key_new"),
    path("account/keys/create", views_keys.create_lasting, name="key_create"),
    path("account/sessions/<int:sign_in_id>/end", views_session.end_session, name="session_end"),
    path(
        "account/sign-out-everywhere",
        views_session.sign_out_everywhere,
        name="sign_out_everywhere",
    ),
    path("account/keys/prepare", views_keys.prepare, name="key_prepare"),
    path("account/keys/store", views_keys.store, name="key_store"),
    path("account/tokens/create", views_tokens.create, name="token_create"),
    path("account/tokens/<int:token_id>/change", views_tokens.change, name="token_change"),
    path("account/tokens/<int:token_id>/rotate", views_tokens.rotate, name="token_rotate"),
    path("account/tokens/<int:token_id>/revoke", views_tokens.revoke, name="token_revoke"),
    path("account/data", views_personal.data, name="data"),
    path("account/data/export", views_personal.export, name="data_export"),
    path("account/data/<uuid:export_id>.zip", views_personal.download, name="data_download"),
    path("account/data/erase", views_personal.erase, name="data_erase"),
    path("account/data/erase/undo", views_personal.undo, name="data_erase_undo"),
    path("account/erased/<uuid:erasure_id>", views_personal.receipt, name="erased"),
    path("account/keys/<int:key_id>/forget", views_keys.forget, name="key_forget"),
]
