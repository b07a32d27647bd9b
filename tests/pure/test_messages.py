"""Which words `scripts.messages` finds, and which translations it refuses."""

from __future__ import annotations

import pytest
from babel.messages.catalog import Message

from scripts.messages import area_of
from scripts.messages_check import faults
from scripts.messages_find import in_javascript, in_python, in_template


def test_templates_are_read_in_every_place_where_words_stand() -> None:
    source = (
        """<p title="{% translate "Say 'you'" %}">don't (é) {% blocktranslate trimmed count n=x %}
        {{ n }} row of 5 %{% plural %}{{ n }} rows{% endblocktranslate %}</p>"""
        """{{ y|default:_("–") }}{% include "x" with a=_("An (odd) one") b=_('two') %}"""
        """{% translate "Head" context "top" %}"""
        """{% comment %}{% translate "not" %}{% endcomment %}{% translate y.label %}"""
    )
    found = [(one.id, one.context) for one in in_template(source)]
    assert found == [
        ("Say 'you'", None),
        (("%(n)s row of 5 %%", "%(n)s rows"), None),
        ("–", None),
        ("An (odd) one", None),
        ("two", None),
        ("Head", "top"),
    ]


def test_python_is_read_and_texts_made_too_early_are_refused() -> None:
    source = '_("a" "b") % {"c": gettext("d")}\nngettext("one", "many", len(x))\n_(title)\nN_("e")'
    assert [one.id for one in in_python(source)] == ["ab", "d", ("one", "many"), "e"]
    for early in ('_(f"{n} rows")', '_("rows " + n)', '_("%s" % n)'):
        with pytest.raises(SyntaxError):
            list(in_python(early))


def test_scripts_are_read_inside_of_template_strings_too() -> None:
    source = """// t("no")
    const a = t('It is', { n }), b = x.t("not"), c = `${tn("{n} row", "{n} rows", k)} of ${z}`;
    say(ok ? t("yes, " + "or so") : t(names[k])); function t(text) {}"""
    found = [one.id for one in in_javascript(source)]
    assert found == ["It is", ("{n} row", "{n} rows"), "yes, or so"]
    with pytest.raises(SyntaxError):
        list(in_javascript("t(`made of ${parts}`)"))


@pytest.mark.parametrize(
    ("english", "german", "wrong"),
    [
        ("%(n)s of <b>%(all)s</b>.", "<b>%(all)s</b>, davon %(n)s.", 0),
        ("%(n)s rows", "Zeilen", 1),
        ("{n} rows", "{m} Zeilen", 1),
        ("<b>Bold</b>", "<i>Fett</i>", 1),
        ("Ends.", "Endet", 1),
        ("Lead ", "Vorne", 1),
        ("At most 2,000 of {n} in <b id=x1>24</b> h.", "In <b id=x1>24</b> h von {n} 2,000.", 0),
        ("At most 2,000.", "Höchstens 2.000.", 1),
        ("Missing", "", 1),
        ("Said once.", "Einmal gesagt.Einmal gesagt.", 1),
        (("%(n)s row", "%(n)s rows"), ("%(n)s Zeile", ""), 1),
    ],
)
def test_a_translation_keeps_what_a_program_reads(
    english: str | tuple[str, str], german: str | tuple[str, str], wrong: int
) -> None:
    assert len(list(faults(Message(english, german)))) == wrong


def test_every_file_has_one_area() -> None:
    assert area_of("templates/alerts/bell.html") == area_of("ledger/rows.py") == "accounts"
    assert area_of("static/js/chat-thread.js") == "inference"
    assert area_of("templates/base.html") == area_of("static/js/toast.js") == "common"
