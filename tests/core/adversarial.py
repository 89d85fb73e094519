"""Rows that break a naive implementation."""

import torch
from strategies import Call


def peaked(length=128, dim=64):
    """One key along the last query, the others away from it."""
    query, key, value = Call(length, length, dim, dim, batch=1, heads=1).tensors(torch.float32)
    key[:] = -query[:, :, -1:]
    key[:, :, length // 2] = query[:, :, -1]
    return query, key, value


def away(length, dim=64):
    """Every key points away from every query: each score is as low as it can be."""
    _, _, value = Call(length, length, dim, dim, batch=1, heads=1).tensors(torch.float32)
    query = torch.ones_like(value)
    return query, -query, value


def changed(**replacements):
    query, key, value = Call(100, 100, 64, 64, batch=1).tensors(torch.float32)
    named = {"query": query, "key": key, "value": value}
    for name, change in replacements.items():
        named[name] = change(named[name])
    return tuple(named.values())


ADVERSARIAL = {
    "equal keys": lambda: changed(key=lambda x: x[:, :, :1].expand_as(x)),
    "two tokens repeated": lambda: changed(
        query=lambda x: x[:, :, :2].repeat(1, 1, 50, 1),
        key=lambda x: x[:, :, :2].repeat(1, 1, 50, 1),
    ),
    "zero queries": lambda: changed(query=torch.zeros_like),
    "zero keys": lambda: changed(key=torch.zeros_like),
    "zero queries and keys": lambda: changed(query=torch.zeros_like, key=torch.zeros_like),
    "one zero key": lambda: changed(key=lambda x: x.index_fill(2, torch.tensor([0, 50]), 0.0)),
    "vectors too short to have a direction": lambda: changed(
        query=lambda x: x * 1e-9, key=lambda x: x * 1e-9
    ),
    "short vectors": lambda: changed(query=lambda x: x * 0.05, key=lambda x: x * 0.05),
    "long vectors": lambda: changed(query=lambda x: x * 20, key=lambda x: x * 20),
    "queries are keys": lambda: changed(key=lambda _: changed()[0]),
    "keys away": lambda: away(64),
    "1024 keys away": lambda: away(1024),
    "one key on the query, others away": peaked,
}
