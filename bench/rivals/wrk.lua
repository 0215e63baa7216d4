-- What wrk measured, as one line of JSON that starts with a word of its own.
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      'MEASURED {"requests":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f,"max":%.3f,"failed":%d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000,
      e.connect + e.read + e.write + e.status + e.timeout))
end
