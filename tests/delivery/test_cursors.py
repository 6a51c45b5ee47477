"""The cluster's tag, which cursors need: asked once, and never waited for twice."""

from delivery.cursors import ASK_AGAIN_S, ClusterTag
from kafkahub.kafka.faults import KafkaUnavailable
from subscriptions import cursor


class Cluster:
    """Answers with its id while it is there."""

    def __init__(self) -> None:
        self.is_there = True
        self.asked = 0
        self.now_s = 0.0

    def ask(self, _: float) -> str:
        self.asked += 1
        if not self.is_there:
            raise KafkaUnavailable("away")
        return "cluster-1"

    def tag(self) -> ClusterTag:
        return ClusterTag(self.ask, lambda: self.now_s)


def test_the_cluster_is_asked_once() -> None:
    cluster = Cluster()
    tag = cluster.tag()

    assert tag.get() == tag.get() == cursor.tag("cluster-1")
    assert cluster.asked == 1


def test_while_it_is_away_lists_have_no_cursors_and_do_not_wait_each_time() -> None:
    cluster = Cluster()
    cluster.is_there = False
    tag = cluster.tag()

    assert tag.get() is tag.get() is None
    assert cluster.asked == 1


def test_after_a_while_it_is_asked_again() -> None:
    cluster = Cluster()
    cluster.is_there = False
    tag = cluster.tag()
    tag.get()

    cluster.is_there, cluster.now_s = True, ASK_AGAIN_S

    assert tag.get() == cursor.tag("cluster-1")
