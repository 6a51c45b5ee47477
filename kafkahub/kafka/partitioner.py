"""The partition that Java producers choose for a key (pure).

librdkafka chooses the same with ``murmur2_random``; it is needed here where a partition must be
known before the record is given away.
"""

_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_SHIFT = 24
_WORD = 4


def partition_of(key: bytes, count: int) -> int:
    """Return the partition of a key among ``count``. Source: ``BuiltInPartitioner`` of Kafka."""
    return (murmur2(key) & 0x7FFFFFFF) % count


def murmur2(content: bytes) -> int:
    """Return the 32-bit hash. Source: ``Utils.murmur2`` of Kafka."""
    mixed = _SEED ^ len(content)
    whole = len(content) - len(content) % _WORD
    for at in range(0, whole, _WORD):
        word = int.from_bytes(content[at : at + _WORD], "little") * _FACTOR & _MASK
        word = (word ^ word >> _SHIFT) * _FACTOR & _MASK
        mixed = (mixed * _FACTOR & _MASK) ^ word
    if rest := content[whole:]:
        mixed = (mixed ^ int.from_bytes(rest, "little")) * _FACTOR & _MASK
    mixed = (mixed ^ mixed >> 13) * _FACTOR & _MASK
    return mixed ^ mixed >> 15
