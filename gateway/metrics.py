"""The numbers of open streams."""

from kafkahub.observability import metrics

open_streams = metrics.gauge("stream_open", "Streams that are open.", ["transport"])
audiences = metrics.gauge("stream_audiences", "Audiences that records are put before.")
paused = metrics.gauge("stream_paused", "Streams whose reader takes nothing right now.")
catchup_jobs = metrics.gauge("stream_catchup_jobs", "Catch-up jobs that wait or run.")
log_bytes = metrics.gauge("stream_log_bytes", "Bytes of records and frames in the shared log.")
opened = metrics.counter("stream_opened_total", "Streams opened.", ["transport"])
closed = metrics.counter("stream_closed_total", "Streams closed.", ["transport", "reason"])
refused = metrics.counter(
    "stream_refused_total", "Streams refused before they were open.", ["transport", "code"]
)
frames_sent = metrics.counter(
    "stream_frames_total", "Records handed to a transport, one a listener.", ["transport"]
)
bytes_sent = metrics.counter(
    "stream_bytes_total", "Bytes handed to a transport, without the protocol's own.", ["transport"]
)
records_read = metrics.counter("stream_records_total", "Records read for listeners, once each.")
gaps = metrics.counter("stream_gaps_total", "Gaps announced to listeners.", ["reason"])
pauses = metrics.counter(
    "stream_send_paused_total", "Times a transport had no room.", ["transport"]
)
open_seconds = metrics.histogram(
    "stream_open_seconds", "From a request for a stream to its first byte."
)
append_to_write_seconds = metrics.histogram(
    "stream_append_to_write_seconds", "From the read of a record to its hand-over, one a flush."
)
flush_seconds = metrics.histogram("stream_flush_seconds", "Length of one flush to all listeners.")
frames_per_write = metrics.histogram(
    "stream_frames_per_write_records",
    "Records joined into one write, one observation a flush.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000),
)
lag_seconds = metrics.histogram(
    "stream_lag_seconds",
    "How far listeners that catch up are behind, when their heartbeat is due.",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600),
)
