"""Capitals and other facts from a small table."""

from __future__ import annotations

from random import Random

from duologue.desk import numbers
from duologue.desk.intents import Asked, Content, Intent, Solution, out_of_context, sentence_case
from duologue.desk.kinds import Value, Values, names

_COUNTRIES = """
France, Paris, Europe, the euro = 法国, 巴黎, 欧洲, 欧元
Germany, Berlin, Europe, the euro = 德国, 柏林, 欧洲, 欧元
Italy, Rome, Europe, the euro = 意大利, 罗马, 欧洲, 欧元
Spain, Madrid, Europe, the euro = 西班牙, 马德里, 欧洲, 欧元
Portugal, Lisbon, Europe, the euro = 葡萄牙, 里斯本, 欧洲, 欧元
Greece, Athens, Europe, the euro = 希腊, 雅典, 欧洲, 欧元
Ireland, Dublin, Europe, the euro = 爱尔兰, 都柏林, 欧洲, 欧元
Austria, Vienna, Europe, the euro = 奥地利, 维也纳, 欧洲, 欧元
Finland, Helsinki, Europe, the euro = 芬兰, 赫尔辛基, 欧洲, 欧元
Poland, Warsaw, Europe, the zloty = 波兰, 华沙, 欧洲, 兹罗提
Hungary, Budapest, Europe, the forint = 匈牙利, 布达佩斯, 欧洲, 福林
Norway, Oslo, Europe, the krone = 挪威, 奥斯陆, 欧洲, 克朗
Sweden, Stockholm, Europe, the krona = 瑞典, 斯德哥尔摩, 欧洲, 瑞典克朗
Russia, Moscow, Europe, the ruble = 俄罗斯, 莫斯科, 欧洲, 卢布
England, London, Europe, the pound = 英国, 伦敦, 欧洲, 英镑
China, Beijing, Asia, the yuan = 中国, 北京, 亚洲, 人民币
Japan, Tokyo, Asia, the yen = 日本, 东京, 亚洲, 日元
Thailand, Bangkok, Asia, the baht = 泰国, 曼谷, 亚洲, 泰铢
Vietnam, Hanoi, Asia, the dong = 越南, 河内, 亚洲, 越南盾
India, New Delhi, Asia, the rupee = 印度, 新德里, 亚洲, 卢比
Egypt, Cairo, Africa, the Egyptian pound = 埃及, 开罗, 非洲, 埃及镑
Kenya, Nairobi, Africa, the shilling = 肯尼亚, 内罗毕, 非洲, 先令
Tunisia, Tunis, Africa, the dinar = 突尼斯, 突尼斯市, 非洲, 第纳尔
Canada, Ottawa, North America, the Canadian dollar = 加拿大, 渥太华, 北美洲, 加元
Mexico, Mexico City, North America, the Mexican peso = 墨西哥, 墨西哥城, 北美洲, 墨西哥比索
Cuba, Havana, North America, the Cuban peso = 古巴, 哈瓦那, 北美洲, 古巴比索
Argentina, Buenos Aires, South America, the Argentine peso = 阿根廷, 布宜诺斯艾利斯, 南美洲, 阿根廷比索
Peru, Lima, South America, the sol = 秘鲁, 利马, 南美洲, 索尔
Chile, Santiago, South America, the Chilean peso = 智利, 圣地亚哥, 南美洲, 智利比索
Australia, Canberra, Oceania, the Australian dollar = 澳大利亚, 堪培拉, 大洋洲, 澳元
New Zealand, Wellington, Oceania, the New Zealand dollar = 新西兰, 惠灵顿, 大洋洲, 新西兰元
"""
_ROWS = [[side.strip().split(", ") for side in line.split("=")] for line in _COUNTRIES.strip().splitlines()]


def _column(index: int) -> str:
    """One column of the table; "the euro" is also understood without its article."""
    return "; ".join(dict.fromkeys(f"{en[index]}, {en[index].removeprefix('the ')} = {zh[index]}" for en, zh in _ROWS))


COUNTRY, CAPITAL = names("country", _column(0)), names("capital", _column(1))
CONTINENT, CURRENCY = names("continent", _column(2)), names("currency", _column(3))
_TABLE: dict[Value, dict[Value, Value]] = {
    en[0].lower(): {"capital": en[1].lower(), "continent": en[2].lower(), "currency": en[3].lower()} for en, _ in _ROWS
}
_NAMED = {"capital": CAPITAL, "continent": CONTINENT, "currency": CURRENCY}

ANIMAL = names(
    "animal",
    """
    dog = 狗; cat = 猫; horse = 马; cow = 牛; bird = 鸟; chicken = 鸡; duck = 鸭子; spider = 蜘蛛;
    ant = 蚂蚁; bee = 蜜蜂; snake = 蛇; fish = 鱼
    """,
)
_LEGS = dict(zip(ANIMAL.values, (4, 4, 4, 4, 2, 2, 2, 8, 6, 6, 0, 0), strict=True))
THING = names(
    "thing",
    """
    grass = 草; snow = 雪; blood = 血; coal = 煤; a banana, banana = 香蕉; the sky, sky = 天空;
    milk = 牛奶
    """,
)
COLOR = names(
    "color",
    """
    green = 绿色; white = 白色; red = 红色; black = 黑色; yellow = 黄色; blue = 蓝色
    """,
)
_COLORS = dict(zip(THING.values, ("green", "white", "red", "black", "yellow", "blue", "white"), strict=True))

NAMES = (COUNTRY, CAPITAL, CONTINENT, CURRENCY, COLOR)
"""Kinds whose names may be the content of an answer."""


def _fact(asked: Asked) -> Solution:
    relation, country = asked.intent.name, asked.values["country"]
    value = _TABLE[country][relation]
    name, of = _NAMED[relation].write(value, asked.language), COUNTRY.write(country, asked.language)
    text = {
        "capital": asked.said(f"The capital of {of} is {name}.", f"{of}的首都是{name}。"),
        "continent": asked.said(f"{of} is in {name}.", f"{of}在{name}。"),
        "currency": asked.said(f"People in {of} pay with {name}.", f"{of}的货币是{name}。"),
    }[relation]
    return Solution(text, Content("name", (value,)), reasoning=f"the {relation} of {country} is {value}")


def _capital_of(asked: Asked) -> Solution:
    capital = asked.values["capital"]
    country = next(c for c, row in _TABLE.items() if row["capital"] == capital)
    city, name = CAPITAL.write(capital, asked.language), COUNTRY.write(country, asked.language)
    text = asked.said(f"{city} is the capital of {name}.", f"{city}是{name}的首都。")
    return Solution(text, Content("name", (country,)), reasoning=f"the capital of {country} is {capital}")


def _legs(asked: Asked) -> Solution:
    animal, legs = asked.values["animal"], _LEGS[asked.values["animal"]]
    name, count = ANIMAL.say(animal, asked.language), numbers.say(legs, asked.language)
    article = "an" if name[0] in "aeiou" else "a"
    measure = "二" if legs != 2 else "两"
    text = asked.said(
        f"{article} {name} has {count if legs else 'no'} legs.",
        f"{name}有{count}条腿。".replace("二", measure),
    )
    if not legs:
        text = asked.said(text, f"{name}没有腿。")
    content = Content("number", (legs,)) if legs else Content("name", ("no",))
    return Solution(sentence_case(text), content, reasoning=f"legs of a {animal}: {legs}")


def _color(asked: Asked) -> Solution:
    thing, color = asked.values["thing"], _COLORS[asked.values["thing"]]
    name = sentence_case(THING.say(thing, asked.language))
    text = asked.said(f"{name} is {color}.", f"{name}是{COLOR.say(color, 'zh')}的。")
    return Solution(text, Content("name", (color,)), reasoning=f"the color of {thing} is {color}")


def _country(random: Random) -> Values:
    return {"country": random.choice(COUNTRY.values)}


_OF = "<country>{country}"
FACTS = (
    Intent(
        "capital",
        "facts",
        {
            "en": (
                f"(what is | what's | name) the capital [city] of {_OF}",
                f"(what | which) city is the capital of {_OF}",
            ),
            "zh": (f"{_OF} 的 首都 (是 哪里 | 是 哪个 城市 | 在 哪里 | 叫 什么)",),
        },
        _fact,
        (COUNTRY,),
        _country,
        held_out=True,
    ),
    Intent(
        "continent",
        "facts",
        {
            "en": (f"(what | which) continent is {_OF} in", f"in (what | which) continent is {_OF}"),
            "zh": (f"{_OF} (在 | 位于) (哪个 洲 | 哪 一个 洲)",),
        },
        _fact,
        (COUNTRY,),
        _country,
        held_out=True,
    ),
    Intent(
        "currency",
        "facts",
        {
            "en": (
                f"(what is | what's) the (currency | money) of {_OF}",
                f"(what | which) (currency | money) do (people | they) use in {_OF}",
            ),
            "zh": (f"{_OF} 的 货币 (是 什么 | 叫 什么)", f"{_OF} 用 什么 货币"),
        },
        _fact,
        (COUNTRY,),
        _country,
    ),
    Intent(
        "capital_of",
        "facts",
        {
            "en": (
                "(which | what) country has the capital <capital>{capital}",
                "<capital>{capital} is the capital of (which | what) country",
            ),
            "zh": ("<capital>{capital} 是 (哪个 国家 | 哪国) 的 首都",),
        },
        _capital_of,
        (CAPITAL,),
        lambda random: {"capital": random.choice(CAPITAL.values)},
    ),
    Intent(
        "legs",
        "facts",
        {
            "en": (
                "how many legs does (a | an) <animal>{animal} have",
                "how many legs has (a | an) <animal>{animal}",
            ),
            "zh": ("<animal>{animal} 有 (几 | 多少) 条 腿",),
        },
        _legs,
        (ANIMAL,),
        lambda random: {"animal": random.choice(ANIMAL.values)},
    ),
    Intent(
        "color",
        "facts",
        {"en": ("(what | which) color is <thing>{thing}",), "zh": ("<thing>{thing} 是 什么 颜色 [的]",)},
        _color,
        (THING,),
        lambda random: {"thing": random.choice(THING.values)},
    ),
)


# ---------------------------------------------------------------- follow-ups


def _of_another(asked: Asked, before: Asked) -> Asked | None:
    """ "and of Spain?": the same about another country."""
    if before.intent.name not in _NAMED:
        return None
    return Asked(before.intent, asked.values, asked.language, asked.now)


FOLLOW_UPS = (
    Intent(
        "of_another",
        "follow-ups",
        {
            "en": (f"and (of | for | in) {_OF}", f"(and | what about | how about) {_OF}"),
            "zh": (f"[那 | 那么] {_OF} 呢", f"那 {_OF}"),
        },
        out_of_context,
        (COUNTRY,),
        _country,
        _of_another,
    ),
)
