"""The tables of the miniature world's science, in English and Chinese: small and closed, so that they can be learnt."""

from __future__ import annotations

from typing import Literal, NamedTuple

from thinkery.mini.choices import Texts, either, same


class Pairs(NamedTuple):
    """Pairs of things that belong together, and how each side is asked for."""

    rows: tuple[tuple[Texts, Texts], ...]
    ask: Texts
    ask_back: Texts


class Category(NamedTuple):
    """A class and its members."""

    name: Texts
    members: tuple[Texts, ...]


class Ranking(NamedTuple):
    """Things with a number each."""

    rows: tuple[tuple[Texts, int], ...]
    ask_largest: Texts
    ask_smallest: Texts


class Quantity(NamedTuple):
    """A physical quantity; its unit is the same in both languages."""

    name: Texts
    unit: str


class Formula(NamedTuple):
    """``result = first op second``."""

    result: Quantity
    first: Quantity
    op: Literal["*", "/"]
    second: Quantity

    def solved(self) -> Formula:
        """A product solved for its first factor: ``first = result / second``."""
        return Formula(self.first, self.result, "/", self.second)


def _texts(words: str) -> tuple[Texts, ...]:
    """``iron 铁, gold 金`` as texts."""
    return tuple(either(*pair.rsplit(" ", 1)) for pair in words.split(", "))


_ELEMENTS = (  # no symbol that is also an option's letter
    ("helium 氦", "He", 2),
    ("nitrogen 氮", "N", 7),
    ("oxygen 氧", "O", 8),
    ("sodium 钠", "Na", 11),
    ("magnesium 镁", "Mg", 12),
    ("aluminium 铝", "Al", 13),
    ("sulfur 硫", "S", 16),
    ("chlorine 氯", "Cl", 17),
    ("calcium 钙", "Ca", 20),
    ("iron 铁", "Fe", 26),
    ("copper 铜", "Cu", 29),
    ("zinc 锌", "Zn", 30),
    ("silver 银", "Ag", 47),
    ("gold 金", "Au", 79),
)
_UNITS = (
    ("force 力", "newton 牛顿"),
    ("voltage 电压", "volt 伏特"),
    ("current 电流", "ampere 安培"),
    ("resistance 电阻", "ohm 欧姆"),
    ("power 功率", "watt 瓦特"),
    ("energy 能量", "joule 焦耳"),
    ("pressure 压强", "pascal 帕斯卡"),
    ("frequency 频率", "hertz 赫兹"),
    ("temperature 温度", "kelvin 开尔文"),
    ("length 长度", "metre 米"),
)
PAIRS = (
    Pairs(
        tuple((either(*name.split()), same(symbol)) for name, symbol, _ in _ELEMENTS),
        either("What is the symbol of {}?", "{}的符号是什么？"),
        either("Which element has the symbol {}?", "哪种元素的符号是{}？"),
    ),
    Pairs(
        tuple((either(*quantity.split()), either(*unit.split())) for quantity, unit in _UNITS),
        either("What is the unit of {}?", "{}的单位是什么？"),
        either("Which quantity has the unit {}?", "哪个量的单位是{}？"),
    ),
)
CLASSES = (
    (
        Category(either("mammal", "哺乳动物"), _texts("dog 狗, cat 猫, horse 马, cow 牛, whale 鲸, bat 蝙蝠")),
        Category(either("bird", "鸟"), _texts("eagle 鹰, duck 鸭, owl 猫头鹰, penguin 企鹅, swan 天鹅, hen 鸡")),
        Category(either("fish", "鱼"), _texts("shark 鲨鱼, carp 鲤鱼, tuna 金枪鱼, salmon 三文鱼, eel 鳗鱼, cod 鳕鱼")),
        Category(either("insect", "昆虫"), _texts("bee 蜜蜂, ant 蚂蚁, fly 苍蝇, beetle 甲虫, moth 蛾, wasp 黄蜂")),
    ),
    (
        Category(either("solid", "固体"), _texts("salt 盐, sand 沙, glass 玻璃, wood 木头, stone 石头, ice 冰")),
        Category(
            either("liquid", "液体"), _texts("water 水, oil 油, milk 牛奶, juice 果汁, petrol 汽油, alcohol 酒精")
        ),
        Category(
            either("gas", "气体"), _texts("air 空气, steam 水蒸气, oxygen 氧气, helium 氦气, methane 甲烷, neon 氖气")
        ),
    ),
)
_PLANETS = _texts(
    "Mercury 水星, Venus 金星, Earth 地球, Mars 火星, Jupiter 木星, Saturn 土星, Uranus 天王星, Neptune 海王星"
)
RANKS = (
    Ranking(
        tuple((planet, place) for place, planet in enumerate(_PLANETS, 1)),
        either("Which planet is farthest from the sun?", "哪颗行星离太阳最远？"),
        either("Which planet is nearest to the sun?", "哪颗行星离太阳最近？"),
    ),
    Ranking(
        tuple((either(*name.split()), number) for name, _, number in _ELEMENTS),
        either("Which element has the largest atomic number?", "哪种元素的原子序数最大？"),
        either("Which element has the smallest atomic number?", "哪种元素的原子序数最小？"),
    ),
)

_FORCE = Quantity(either("force", "力"), "N")
_MASS = Quantity(either("mass", "质量"), "kg")
_ACCELERATION = Quantity(either("acceleration", "加速度"), "m/s2")
_DISTANCE = Quantity(either("distance", "路程"), "m")
_SPEED = Quantity(either("speed", "速度"), "m/s")
_TIME = Quantity(either("time", "时间"), "s")
_VOLTAGE = Quantity(either("voltage", "电压"), "V")
_CURRENT = Quantity(either("current", "电流"), "A")
_RESISTANCE = Quantity(either("resistance", "电阻"), "ohm")
_POWER = Quantity(either("power", "功率"), "W")
_ENERGY = Quantity(either("energy", "能量"), "J")
_WORK = Quantity(either("work", "功"), "J")
_MOMENTUM = Quantity(either("momentum", "动量"), "kg m/s")
_DENSITY = Quantity(either("density", "密度"), "kg/m3")
_VOLUME = Quantity(either("volume", "体积"), "m3")

_NEWTON = Formula(_FORCE, _MASS, "*", _ACCELERATION)
_WAY = Formula(_DISTANCE, _SPEED, "*", _TIME)
_OHM = Formula(_VOLTAGE, _CURRENT, "*", _RESISTANCE)
_WATT = Formula(_POWER, _VOLTAGE, "*", _CURRENT)
_JOULE = Formula(_ENERGY, _POWER, "*", _TIME)
_LIFT = Formula(_WORK, _FORCE, "*", _DISTANCE)
_PUSH = Formula(_MOMENTUM, _MASS, "*", _SPEED)
_BULK = Formula(_MASS, _DENSITY, "*", _VOLUME)
FORMULAS = (_NEWTON, _WAY, _OHM, _WATT, _JOULE, _LIFT, _PUSH, _BULK)
CHAINS: tuple[tuple[Formula, Formula, Literal["a", "b"]], ...] = (  # and which operand of the second the first gives
    (_NEWTON, _LIFT, "a"),
    (_WATT, _JOULE, "a"),
    (_BULK, _NEWTON, "a"),
    (Formula(_SPEED, _DISTANCE, "/", _TIME), _PUSH, "b"),
)
