"""Names made comparable: what is dropped, what is read out, and what stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.trade.names import forms, is_firm, normalised


@pytest.mark.parametrize(
    ("name", "latin"),
    [
        ("ACME Trading Co., Ltd.", "acme trading"),
        ("X-a-v-i-e-r N.o.b.o.d.y", "xavier nobody"),
        ("X a v i e r  N o b o d y", "xavier nobody"),
        ("A B C D Trading Ltd", "abcd trading"),
        ("А-н-н-а", "anna"),
        ("Société à responsabilité limitée Dupré", "dupre"),
        ("Müller & Söhne GmbH", "muller and sohne"),
        ("J. R. O'Neil", "jr oneil"),
        ("PETROV, Ivan", "petrov ivan"),
        ("Semi-conductor  Works", "semi conductor works"),
        ("Øresund Straße", "oresund strasse"),
        ("Co Ltd", "co ltd"),
        ("\uff21\uff23\uff2d\uff25 7", "acme 7"),
        ("Acme FZE (in liquidation)", "acme in liquidation"),
        ("ООО «Ромашка»", "romashka"),
        ("Ελληνική Εταιρεία Α.Ε.", "elliniki etaireia ae"),
    ],
)
def test_latin_forms(name, latin):
    assert latin in forms(name).latin


@pytest.mark.parametrize(
    ("name", "native"),
    [
        ("ООО «Ромашка»", "ромашка"),
        ("Общество с ограниченной ответственностью «Ёлка»", "елка"),
        ("华为技术有限公司", "华为技术"),
        ("王 小 测", "王小测"),
        ("شركة النُّور", "النور"),
        ("عبدالله مكتبة", "عبدالله مكتبه"),
        ("Ελλάς ΑΕ", "ελλασ"),
    ],
)
def test_native_forms(name, native):
    assert native in forms(name).native


def test_two_ways_to_write_a_letter_are_one():
    assert forms("كريم").native == forms("کریم").native
    assert forms("й").native == forms("\u0438\u0306").native
    assert forms("華為").latin == forms("华为").latin


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad", "\u200d", "\u200e", "\u2060"])
def test_what_is_not_seen_parts_no_words(unseen):
    assert forms(f"Xav{unseen}ier No{unseen}body") == forms("Xavier Nobody")


def test_han_is_read_out_joined_by_syllables_and_as_a_persons():
    assert forms("王小测").latin == ("wangxiaoce", "wang xiao ce", "wang xiaoce")
    assert forms("北京测试有限公司").latin == ("beijingceshi", "bei jing ce shi")
    assert "gim jeongeun" in forms("김정은").latin


def test_latin_names_have_no_native_form_and_nothing_has_none():
    assert forms("Ångström Ltd").native == ()
    assert forms(" -.,'") == ((), ())
    assert normalised(["Ромашка", "Romashka"]) == ["romashka", "ромашка"]


def test_firms_are_known_by_their_legal_form():
    assert all(map(is_firm, ("Acme Ltd", "Ромашка ООО", "ООО Ромашка", "测试有限公司", "Joint Stock Company Neva")))
    assert not any(map(is_firm, ("Ivan Petrov", "As Salam", "王小测")))


@given(st.text(max_size=60))
def test_forms_are_words_between_single_spaces(name):
    for form in forms(name).latin:
        assert form == " ".join(form.split()) == form.lower()
        assert form.isascii()
    for form in forms(name).native:
        assert form == " ".join(form.split())
    assert forms(name) == forms(name.upper().lower()) or not name.isascii()
