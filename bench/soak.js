// The same for a long time: draws with their pictures at RATE, and now and then an upload. The second and the last fifth of the time are
// measured apart, so that whoever runs this can tell whether it has become slower: the first is for caches to fill. MODE=peak draws as fast as it can instead, to tell what
// half of that is.
import exec from 'k6/execution';
import * as c from './common.js';

c.needToken();
const slow = [`p(99)<${c.p99}`];
const peak = { draws: { executor: 'constant-vus', exec: 'draws', vus: 16, duration: c.duration } };

export const options = __ENV.MODE === 'peak' ? c.settings(peak, {}) : c.settings(
  // All connections from the beginning on: more of them in a slow moment, which stay, would be taken for a leak of descriptors.
  Object.assign(c.arrivals('draws', 'draws', c.rate, { preAllocatedVUs: 400 }), c.arrivals('uploads', 'uploads', Number(__ENV.RATE_UPLOADS || 0.2))),
  { 'http_req_duration{scenario:draws}': slow, 'http_req_duration{part:second}': slow, 'http_req_duration{part:last}': slow });
export const handleSummary = c.summary;

export function draws() {
  const done = exec.scenario.progress;
  exec.vu.tags.part = done >= 0.2 && done < 0.4 ? 'second' : done >= 0.8 ? 'last' : 'other';
  const path = c.draw(c.anyLabel());
  if (path) c.picture(path);
}

export function uploads() {
  exec.vu.tags.part = 'upload';
  const p = c.upload(c.anyLabel(), 0, 64, 48); // no draw leads to it, so that it may be removed at once
  if (p && !c.keep) c.remove(p);
}
