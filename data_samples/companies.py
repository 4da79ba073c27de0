"""The people and things of the sample portfolio: fictional companies, places, branches, goods. Any likeness is chance."""

from __future__ import annotations

from dataclasses import dataclass

from collateral.domain import LonLat, SiteKind, User
from data_samples.scene_model import GoodsKind


@dataclass(frozen=True)
class Company:
    """A fictional borrower."""

    borrower_id: str
    name: str
    name_en: str
    group_name: str
    industry: str
    kind: SiteKind
    """Kind of sites it runs."""


_F, _S, _W = SiteKind.FACTORY, SiteKind.SOLAR, SiteKind.WAREHOUSE

COMPANIES: tuple[Company, ...] = (
    Company("B01", "江苏澄岳精密机械有限公司", "Jiangsu Chengyue Precision Machinery", "澄岳集团", "machinery", _F),
    Company("B02", "浙江霁川纺织股份有限公司", "Zhejiang Jichuan Textiles", "霁川控股", "textiles", _F),
    Company("B03", "山东砺石新材料有限公司", "Shandong Lishi New Materials", "砺石集团", "materials", _F),
    Company("B04", "湖北垣桐汽车部件有限公司", "Hubei Yuantong Auto Parts", "澄岳集团", "automotive", _F),
    Company("B05", "安徽沐铎光能有限公司", "Anhui Muduo Solar", "沐铎能源", "solar", _S),
    Company("B06", "江苏晖野新能源有限公司", "Jiangsu Huiye New Energy", "沐铎能源", "solar", _S),
    Company("B07", "山东曦壤光伏电站有限公司", "Shandong Xirang Photovoltaic", "", "solar", _S),
    Company("B08", "江西煦陇清洁能源有限公司", "Jiangxi Xulong Clean Energy", "", "solar", _S),
    Company("B09", "上海翎湾仓储有限公司", "Shanghai Lingwan Storage", "翎湾物流", "storage", _W),
    Company("B10", "浙江岚舶供应链有限公司", "Zhejiang Lanbo Supply Chain", "霁川控股", "storage", _W),
    Company("B11", "江苏磐渡物流有限公司", "Jiangsu Pandu Logistics", "翎湾物流", "storage", _W),
    Company("B12", "山东麦垄农产仓储有限公司", "Shandong Mailong Agricultural Storage", "", "storage", _W),
)


@dataclass(frozen=True)
class Tie:
    """A relation between two borrowers; amount in CNY."""

    from_id: str
    to_id: str
    kind: str
    amount: int


TIES: tuple[Tie, ...] = (
    Tie("B01", "B04", "guarantee", 12_000_000),
    Tie("B04", "B01", "guarantee", 8_000_000),
    Tie("B02", "B10", "guarantee", 6_000_000),
    Tie("B05", "B06", "guarantee", 5_000_000),
    Tie("B09", "B11", "guarantee", 9_000_000),
    Tie("B03", "B01", "supply", 18_500_000),
    Tie("B10", "B02", "supply", 11_000_000),
    Tie("B09", "B03", "supply", 7_400_000),
    Tie("B12", "B02", "supply", 4_200_000),
    Tie("B01", "B04", "group", 0),
    Tie("B05", "B06", "group", 0),
    Tie("B09", "B11", "group", 0),
)


@dataclass(frozen=True)
class Place:
    """A town near which sites lie."""

    name: str
    name_en: str
    at: LonLat
    branch: str


BRANCHES = ("苏州分行", "济南分行", "武汉分行")
PLACES: tuple[Place, ...] = (
    Place("苏州", "Suzhou", LonLat(120.66, 31.38), BRANCHES[0]),
    Place("常州", "Changzhou", LonLat(119.92, 31.76), BRANCHES[0]),
    Place("嘉兴", "Jiaxing", LonLat(120.74, 30.72), BRANCHES[0]),
    Place("镇江", "Zhenjiang", LonLat(119.52, 32.06), BRANCHES[0]),
    Place("济南", "Jinan", LonLat(117.18, 36.73), BRANCHES[1]),
    Place("潍坊", "Weifang", LonLat(119.08, 36.66), BRANCHES[1]),
    Place("徐州", "Xuzhou", LonLat(117.24, 34.20), BRANCHES[1]),
    Place("临沂", "Linyi", LonLat(118.40, 35.02), BRANCHES[1]),
    Place("武汉", "Wuhan", LonLat(114.18, 30.48), BRANCHES[2]),
    Place("合肥", "Hefei", LonLat(117.20, 31.90), BRANCHES[2]),
    Place("南昌", "Nanchang", LonLat(115.98, 28.58), BRANCHES[2]),
    Place("九江", "Jiujiang", LonLat(115.88, 29.62), BRANCHES[2]),
)

USERS: tuple[User, ...] = (
    User("chen.yu", "陈屿", "officer", BRANCHES[0], "zh"),
    User("gu.mingyuan", "顾明远", "officer", BRANCHES[0], "zh"),
    User("sun.peiran", "孙沛然", "officer", BRANCHES[1], "zh"),
    User("wei.lan", "Wei Lan", "officer", BRANCHES[2], "en"),
    User("lin.heng", "林衡", "risk", "", "zh"),
    User("operator", "运维", "operator", "", "zh"),
    User("auditor", "Auditor", "auditor", "", "en"),
    User("admin", "Administrator", "admin", "", "en"),
)

KIND_NAMES: dict[SiteKind, tuple[str, str]] = {
    SiteKind.FACTORY: ("工厂", "plant"),
    SiteKind.SOLAR: ("光伏电站", "solar park"),
    SiteKind.WAREHOUSE: ("仓库", "warehouse"),
}


@dataclass(frozen=True)
class Commodity:
    """Goods that are pledged."""

    key: str
    name: str
    price: float
    """CNY per tonne."""
    haircut: float
    per_slot_t: float
    """Tonnes in one full yard bay."""
    goods: GoodsKind
    """How it looks from above."""
    serial_prefix: str


COMMODITIES: tuple[Commodity, ...] = (
    Commodity("hot_rolled_coil", "热轧卷板", 3_650, 0.25, 60, "coils", "HRC"),
    Commodity("aluminium_ingot", "铝锭", 19_600, 0.20, 40, "crates", "ALI"),
    Commodity("cotton_bale", "棉花", 15_200, 0.25, 14, "pallets", "COT"),
    Commodity("polypropylene", "聚丙烯", 7_400, 0.25, 18, "big_bags", "PPR"),
    Commodity("soybean_meal", "豆粕", 3_300, 0.30, 24, "big_bags", "SBM"),
    Commodity("sawn_timber", "锯材", 2_900, 0.30, 20, "timber", "TIM"),
    Commodity("seamless_pipe", "无缝钢管", 5_200, 0.25, 36, "pipes", "PIP"),
    Commodity("zinc_ingot", "锌锭", 22_800, 0.20, 40, "crates", "ZNI"),
    Commodity("natural_rubber", "天然橡胶", 14_100, 0.25, 20, "container", "RUB"),
)

MACHINES: tuple[tuple[str, float], ...] = (
    ("五轴加工中心", 3_800_000.0),
    ("大型压铸机", 4_600_000.0),
    ("自动冲压线", 7_200_000.0),
    ("喷气织机组", 2_900_000.0),
    ("注塑机组", 2_400_000.0),
    ("热处理炉", 3_100_000.0),
)
"""Name and appraised value in CNY."""
