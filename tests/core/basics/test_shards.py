"""Shards are the whole, in order, each place once."""

import pytest
from strategies import refused

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.shards import WHOLE, Shard, shards


@pytest.mark.parametrize(("count", "of"), [(12, 4), (7, 3), (2, 5), (0, 2), (9, 1)])
def test_shards_in_their_order_are_the_whole(count, of):
    places = list(range(count))
    parts = [places[shard.part(count)] for shard in shards(of)]
    assert [place for part in parts for place in part] == places
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= (1 if count % of else 0)


def test_the_whole_is_one_shard():
    assert shards(1) == [WHOLE]


@pytest.mark.parametrize(("index", "of"), [(3, 3), (-1, 3), (0, 0)])
def test_a_shard_that_is_none_of_them_is_refused(index, of):
    with refused(UsageError, [f"shard is {index} of {of}"]):
        Shard(index, of)
