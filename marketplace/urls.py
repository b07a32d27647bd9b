"""All HTTP paths: each app brings its own, `marketplace` adds the pages that combine them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path

from marketplace import api_urls, crawlers, docs, releases, sitemap, views


def healthz(request: HttpRequest) -> HttpResponse:
    """200 as soon as the process answers; says nothing about the database (that is `/readyz`)."""
    return HttpResponse("ok", content_type="text/plain")


urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz, name="healthz"),
    path("language", views.language, name="language"),
    path("robots.txt", crawlers.robots, name="robots"),
    path("favicon.ico", crawlers.icon, name="icon"),
    path("llms.txt", crawlers.llms, name="llms"),
    path(".well-known/security.txt", crawlers.security, name="security"),
    path("sitemap.xml", sitemap.index, name="sitemap"),
    path("sitemap-<slug:section>-<int:number>.xml", sitemap.file, name="sitemap-file"),
    path("", include("marketplace.api_urls")),
    path("", include("marketplace.urls_search")),
    path("", include("marketplace.urls_changes")),
    path("", include("accounts.urls")),
    path("", include("alerts.urls")),
    path("", include("finetune.urls")),
    path("", include("inference.urls")),
    path("", include("moderation.urls")),
    path("", include("operators.urls")),
    path("", include("ops.urls")),
    path("", include("ops.urls_admin")),
    path("docs", docs.index, name="docs"),
    path("docs/images/<str:name>", docs.image, name="docs-image"),
    path("docs/changelog.atom", releases.feed, name="docs-changelog-atom"),
    path("docs/<slug:slug>.md", docs.markdown, name="docs-markdown"),
    path("docs/<slug:slug>", docs.page, name="docs-page"),
    path("", include("marketplace.urls_pages")),
    *api_urls.last_urlpatterns,
]

handler400 = "marketplace.views_errors.bad_request"
handler403 = "marketplace.views_errors.forbidden"
handler404 = "marketplace.views_errors.not_found"
handler500 = "marketplace.views_errors.server_error"
