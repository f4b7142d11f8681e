"""Which entries are hit: the limits of the default row, any order, any script; other facts order and clear nothing."""

import random
from types import SimpleNamespace

import pytest
from rapidfuzz.distance import JaroWinkler

from sealift.trade import likeness, lists, matching


def entry(*names):
    return SimpleNamespace(names=names)


LISTED = [
    entry("ZORBANOV, Igor Tarkan", "Зорбанов Игорь"),
    entry("Velmarin Shipping Lines Co., Ltd.", "Velma"),
    entry("Qasbar Semiconductor Research Institute", "卡斯巴半导体研究所"),
    entry("AL-HARZANI, Yusuf bin Samir", "يوسف الهرزاني"),
    entry("王小测"),
]
INDEX = matching.Index(LISTED)


def hits(*names):
    return [found.entry for found in INDEX.search(names)]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("Igor Tarkan Zorbanov", 0),  # in order
        ("Zorbanof Igor", 0),  # a typo, a word fewer
        ("Игорь Зорбанов", 0),  # in its own script, turned round
        ("Zorbanov Igor Tarkan and Partners", 0),  # more words
        ("VELMARIN SHIPING LINE", 1),
        ("Lines Velmarin", 1),
        ("Qasbar Semi-conductor Research Institute", 2),
        ("卡斯巴半导体研究院", 2),  # one character of nine is another
        ("يوسف الهرزانى", 3),
        ("Yousef Al Harzani", 3),
        ("Wang Xiaoce", 4),
        ("Xiaoce Wang", 4),
        ("王小測", 4),  # traditional for simplified
    ],
)
def test_a_name_is_found_however_it_is_written(query, number):
    assert number in hits(query)


@pytest.mark.parametrize("query", ["Kittiwake Research Ltd", "Petrel Compute", "Anna Example", "李四", "Мария Иванова"])
def test_a_name_that_is_another_is_not_hit(query):
    assert hits(query) == []


def test_the_limits_are_those_of_the_default_row():
    assert (matching.WHOLE, matching.WORDS) == (0.85, 0.80)
    chance = random.Random(7)
    letters = "abcdefgh"
    names = ["".join(chance.choice(letters) for _ in range(6)) for _ in range(400)]
    index = matching.Index([entry(name) for name in names])
    query = names[0][:4] + "zz"
    expected = {i for i, name in enumerate(names) if JaroWinkler.similarity(query, name) >= 0.80}
    assert {found.entry for found in index.search([query])} == expected
    assert len(expected) > len([name for name in names if JaroWinkler.similarity(query, name) >= 0.85])


def test_words_of_the_shorter_name_each_want_their_like():
    index = matching.Index([entry("alpha gamma delta epsilon"), entry("alpha"), entry("alphb")])
    assert [found.entry for found in index.search(["epsilon gamna"])] == [0]
    assert [found.entry for found in index.search(["epsilon zzzzz"])] == []
    found = {each.entry: each.scores for each in index.search(["zulu alpha"])}
    assert set(found) == {1, 2}, "a lone word beside several is taken from 0.90 on"
    assert matching.LONE <= found[2].words < 1
    assert found[1].words == 1


def test_the_nearest_comes_first_and_says_which_names():
    index = matching.Index([entry("Harban Trading"), entry("Nothing", "Harbin Tradings")])
    first, second = index.search(["Harbin Trading", "Harbin Tradings"])
    assert (first.entry, first.scores.name, first.scores.query) == (1, "Harbin Tradings", "Harbin Tradings")
    assert first.scores.best == 1
    assert second.entry == 0


def test_lists_without_latin_names_or_without_names_are_searched():
    assert matching.Index([entry()]).search(["Anna"]) == []
    assert [found.entry for found in matching.Index([entry("عمر")]).search(["عُمر"])] == [0]


def test_other_facts():
    assert likeness.country("IR", ["Iran"]) == "same"
    assert likeness.country("DE", ["RU", "Russia"]) == "different"
    assert likeness.country("DE", ["RU", "Atlantis"]) == "unknown"
    assert likeness.country("", ["RU"]) == likeness.country("DE", []) == "unknown"
    assert likeness.birth_date("1961-03-04", ["circa 1961"]) == "same"
    assert likeness.birth_date("1961", ["04 Mar 1962"]) == "near"
    assert likeness.birth_date("1961", ["1950 to 1959"]) == "different"
    assert likeness.birth_date("", ["1950"]) == "unknown"
    assert likeness.kind("organisation", "person") == "different"
    assert likeness.kind("", "person") == "unknown"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Iran (Islamic Republic of)", "IR"),
        ("Korea, North", "KP"),
        ("Bahamas, The", "BS"),
        ("UNITED KINGDOM", "GB"),
        ("Region: Gaza", "PS"),
        ("Democratic People's Republic of Korea", "KP"),
        ("de", "DE"),
        ("Atlantis", ""),
    ],
)
def test_countries_as_lists_write_them(text, code):
    assert likeness.code_of(text) == code


def test_a_similarity_that_is_the_limit_counts():
    """rapidfuzz is not exact at its own cutoff: 0.8 of these two is taken for 0 there."""
    assert JaroWinkler.similarity("al", "alvarezi") == pytest.approx(0.80)
    index = matching.Index([entry("bello alvarezi rashid"), entry("bello rashid")])
    assert [found.entry for found in index.search(["al bello"])] == [0]
    assert index.search(["al bello"])[0].scores.words == pytest.approx(0.80)


def test_searching_few_words_is_searching_all():
    """Only names that share a word in some form are looked at; the answer is that of looking at every one."""
    chance = random.Random(5)
    parts = ["".join(chance.choice("abcde") for _ in range(chance.randint(2, 7))) for _ in range(60)]
    names = [" ".join(chance.sample(parts, chance.randint(1, 4))) for _ in range(300)]
    index = matching.Index([entry(name) for name in names])

    def like(one, other):
        shorter, longer = sorted((one.split(), other.split()), key=len)
        least = min(max(JaroWinkler.similarity(word, each) for each in longer) for word in shorter)
        lone = len(shorter) == 1 != len(longer)
        return least if least >= (matching.LONE if lone else matching.WORDS) - 1e-9 else 0

    for query in names[:40]:
        found = index.by_words(query)
        for name, score in zip(names, found, strict=True):
            expected = like(query, name)
            assert score == pytest.approx(expected) if expected else score < matching.WORDS - 1e-9


# Names as they are written in their own script and, usually, in Latin letters; what comes of the second alone is told.
ARABIC = (
    ("محمد عبد الله", "Mohammed Abdullah"), ("يوسف الهرزاني", "Yusuf al-Harzani"), ("حسن نصار", "Hassan Nassar"),
    ("سليمان عمر", "Suleiman Omar"),
    ("عبد الرحمن القاسمي", "Abdulrahman Al-Qasimi"), ("خالد الشريف", "Khalid al-Sharif"),
    ("شركة النور للتجارة", "Al-Noor Trading Company"), ("أبو بكر الحسيني", "Abu Bakr al-Husseini"),
    ("ابراهيم جابر", "Ibrahim Jaber"), ("فاطمة الزهراء", "Fatima al-Zahra"),
)  # fmt: skip
CHINESE = (
    ("王小明", "Wang Xiaoming"), ("张伟", "Zhang Wei"), ("李娜", "Li Na"), ("陳大文", "Chan Tai Man"),
    ("北京曙光科技有限公司", "Beijing Shuguang Technology Co., Ltd."), ("習仲勳", "Xi Zhongxun"),
    ("哈尔滨工程大学", "Harbin Engineering University"), ("华为技术有限公司", "Huawei Technologies Co., Ltd."),
    ("刘强东", "Liu Qiangdong"), ("欧阳娜娜", "Ouyang Nana"),
)  # fmt: skip
CYRILLIC = (
    ("Игорь Зорбанов", "Igor Zorbanov"), ("Сергей Шойгу", "Sergei Shoigu"), ("Алексей Ющенко", "Aleksey Yushchenko"),
    ("ООО Северсталь Трейд", "Severstal Trade LLC"), ("Владимир Жириновский", "Vladimir Zhirinovsky"),
    ("Юлия Хрущёва", "Yulia Khrushcheva"), ("Евгений Щербаков", "Evgeny Shcherbakov"), ("Пётр Цой", "Petr Tsoy"),
    ("Олександр Гончаренко", "Oleksandr Honcharenko"),
    ("Научно-исследовательский институт", "Scientific Research Institute"),
)  # fmt: skip


@pytest.mark.parametrize(("pairs", "least"), [(ARABIC, 1), (CHINESE, 8), (CYRILLIC, 9)])
def test_how_many_names_of_another_script_are_found_in_latin_letters(pairs, least):
    found = [
        bool(matching.Index([lists.Entry(entry_id="1", source="x", kind="", names=(latin,))]).search([native]))
        for native, latin in pairs
    ]
    assert sum(found) >= least, "docs/spec/screening.md says how many"
    both = [
        matching.Index([lists.Entry(entry_id="1", source="x", kind="", names=(latin,))]).search([native, latin])
        for native, latin in pairs
    ]
    assert all(both), "which is why the Latin spelling is asked for"
