"""See inside a model at any length, never with a matrix of length × length.

`capture` keeps queries, keys and row statistics of one pass; `rows` reads them; `map` zooms into
one head, `thumbnails` shows all of them small; `stages` follows one row from score to weight.
"""

from freeatten_core.models.forecast import Forecast

from .capture import Capture, LayerCapture, capture
from .forecast import forecast, forecast_unread
from .map.attention_map import AttentionMap
from .map.difference import DifferenceRegion, difference
from .map.payload import Payload
from .map.region import Region
from .map.scale import ByteScale
from .rows import (
    STATISTICS,
    HeadRow,
    HeadTable,
    SinkRate,
    UniformRule,
    by_position,
    entropy_note,
    head_table,
    sink_rate,
    statistic,
    uniform_rule_share,
)
from .stages import RowStages, row_stages
from .thumbnails import Thumbnails, thumbnails

__all__ = [
    "STATISTICS",
    "AttentionMap",
    "ByteScale",
    "Capture",
    "DifferenceRegion",
    "Forecast",
    "HeadRow",
    "HeadTable",
    "LayerCapture",
    "Payload",
    "Region",
    "RowStages",
    "SinkRate",
    "Thumbnails",
    "UniformRule",
    "by_position",
    "capture",
    "difference",
    "entropy_note",
    "forecast",
    "forecast_unread",
    "head_table",
    "row_stages",
    "sink_rate",
    "statistic",
    "thumbnails",
    "uniform_rule_share",
]
