// Draws. MODE: redirect, the answer alone; picture, and the picture it leads to; page, twelve at once as a browser loads them; or all
// three, one after the other.
//   k6 run -e BASE_URL=https://… -e RATE=100 -e DURATION=1m bench/random.js
import http from 'k6/http';
import * as c from './common.js';

const mode = __ENV.MODE || 'all';
const onPage = 12;
const kinds = { redirect: c.rate, picture: c.rate / 2, page: c.rate / 20 };
const chosen = mode === 'all' ? Object.keys(kinds) : [mode];
const seconds = c.duration.match(/^(\d+)s$/);

const scenarios = {}, limits = {};
chosen.forEach((kind, n) => {
  if (!kinds[kind]) throw new Error(`MODE=${kind} is none of redirect, picture, page, all`);
  if (n && !seconds) throw new Error('DURATION must be in seconds, such as 30s, for MODE=all');
  Object.assign(scenarios, c.arrivals(kind, kind, mode === 'all' ? kinds[kind] : c.rate, n ? { startTime: `${n * (Number(seconds[1]) + 1)}s` } : {}));
  // As many requests at once as a page makes take longer than one by itself.
  limits[`http_req_duration{scenario:${kind}}`] = [`p(99)<${kind === 'page' ? 2 * c.p99 : c.p99}`];
});
export const options = c.settings(scenarios, limits);
export const handleSummary = c.summary;

export function redirect() {
  c.draw(c.anyLabel());
}

export function picture() {
  const path = c.draw(c.anyLabel());
  if (path) c.picture(path);
}

// A new visitor: nothing is in the browser's cache, and a picture that is on the page twice is fetched once.
export function page() {
  const label = c.anyLabel();
  const drawn = http.batch(Array.from({ length: onPage }, () => c.drawRequest(label)));
  const paths = [...new Set(drawn.map((r) => c.checkDraw(r, label)).filter((p) => p))];
  http.batch(paths.map(c.pictureRequest)).forEach((r, n) => c.checkPicture(r, paths[n]));
}
