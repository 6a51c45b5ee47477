"""Where a subscription began to fail: the first record since its last success."""

from django.db import connection

FIRST = """
WITH success AS (
    SELECT max(at) AS at FROM delivery_attempt
     WHERE subscription = %(subscription)s AND outcome_class = 'delivered' AND kind <> 'test'
)
SELECT a.topic, a.partition, min(a."offset")
  FROM delivery_attempt a, success
 WHERE a.subscription = %(subscription)s AND a.at > coalesce(success.at, '-infinity')
   AND a.outcome_class <> 'delivered' AND a.kind <> 'test' AND a.partition >= 0
 GROUP BY 1, 2
"""  # attempt_of_subscription (subscription, at, id)


def first(subscription: str) -> dict[str, dict[int, int]]:
    """Return by topic and partition the first offset that failed since the last success."""
    found: dict[str, dict[int, int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(FIRST, {"subscription": subscription})
        for topic, partition, offset in cursor.fetchall():
            found.setdefault(topic, {})[partition] = offset
    return found
