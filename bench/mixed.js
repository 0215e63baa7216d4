// Everything at once: draws with their pictures (RATE), uploads (RATE_UPLOADS), weight changes (RATE_WEIGHTS) and removals (RATE_REMOVALS);
// a rate of 0 leaves one out. A draw may lead to a picture that was removed within the last second, and to no other that is not there. WEIGHT
// is what all pictures of a label weigh together, at least: it says how many such draws there may be.
import http from 'k6/http';
import { check } from 'k6';
import { Rate } from 'k6/metrics';
import * as c from './common.js';

c.needToken();
const rates = {
  uploads: Number(__ENV.RATE_UPLOADS || c.rate / 25), weights: Number(__ENV.RATE_WEIGHTS || c.rate / 25), removals: Number(__ENV.RATE_REMOVALS || c.rate / 50),
};

// mostGone: what has weight 1 is drawn for a second after its removal, at random. Five standard deviations more than that, and three draws for
// where few are expected, do not happen by chance.
function mostGone() {
  if (!__ENV.WEIGHT) return 0.02;
  const removals = rates.removals + (c.keep ? 0 : rates.uploads), draws = c.rate * c.seconds;
  const mean = draws * Math.min(1, removals / c.labels.length / Number(__ENV.WEIGHT));
  return ((mean + 5 * Math.sqrt(mean) + 3) / draws).toFixed(5);
}

const pool = Number(__ENV.POOL || 20); // pictures whose weights change

export const options = c.settings(
  Object.assign(c.arrivals('draws', 'draws', c.rate), ...Object.keys(rates).map((name) => c.arrivals(name, name, rates[name]))),
  {
    'http_req_duration{scenario:draws}': [`p(99)<${c.p99}`],
    'http_req_duration{name:POST /upload}': [`p(99)<${Number(__ENV.P99_UPLOAD || 1500)}`],
    'drawn_but_gone': [`rate<=${mostGone()}`],
  });
export const handleSummary = c.summary;

const gone = new Rate('drawn_but_gone');
const thereOrGone = http.expectedStatuses(200, 403);

export function setup() {
  return Array.from({ length: pool }, () => c.upload(c.anyLabel(), 1, 32, 24)).filter((p) => p);
}

export function teardown(pictures) {
  pictures.forEach(c.remove);
}

export function draws() {
  const path = c.draw(c.anyLabel());
  if (!path) return;
  const [, url, , params] = c.pictureRequest(path);
  const r = http.get(url, Object.assign({ responseCallback: thereOrGone }, params));
  gone.add(r.status === 403);
  if (r.status !== 403) return c.checkPicture(r, path);
  const [, label, id] = path.split(/[/.]/);
  c.checkGone({ label, id });
}

export function uploads() {
  const p = c.upload(c.anyLabel(), 1, 64, 48);
  if (p && !c.keep) c.remove(p);
}

export function weights(pictures) {
  c.setWeight(pictures[Math.floor(Math.random() * pictures.length)], Math.floor(Math.random() * 5000) / 1000);
}

export function removals() {
  const p = c.upload(c.anyLabel(), 1, 32, 24);
  if (!p) return;
  const before = c.look(p);
  check(before, { 'weight is as uploaded': (r) => r.weight === 1 });
  const path = c.pathOf(p);
  if (c.loopback) c.picture(path); // so that the edge has a copy: CloudFront drops its own some seconds after it was told
  c.remove(p);
  c.checkGone(p);
  c.checkNoBytes(path);
}
