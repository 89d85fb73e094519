"""Attention kernels; `freeatten_core.attention` chooses among them."""
