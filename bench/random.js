// Draws. MODE: redirect, the answer alone; picture, and the picture it leads to; page, twelve at once as a browser loads them; or all
// three, one after the other.
//   k6 run -e BASE_URL=https://… -e RATE=100 -e DURATION=1m bench/random.js
import { Trend } from 'k6/metrics';
import * as c from './common.js';

const mode = __ENV.MODE || 'all';
const onPage = 12, connections = 6; // of a browser, to one host by HTTP/1.1
const whole = new Trend('page_duration', true);
const kinds = { redirect: c.rate, picture: c.rate / 2, page: c.rate / 20 };
const chosen = mode === 'all' ? Object.keys(kinds) : [mode];

const scenarios = {}, limits = {};
chosen.forEach((kind, n) => {
  if (!kinds[kind]) throw new Error(`MODE=${kind} is none of redirect, picture, page, all`);
  Object.assign(scenarios, c.arrivals(kind, kind, mode === 'all' ? kinds[kind] : c.rate, n ? { startTime: `${n * (c.seconds + 1)}s` } : {}));
  // As many requests at once as a page makes take longer than one by itself.
  limits[`http_req_duration{scenario:${kind}}`] = [`p(99)<${kind === 'page' ? 2 * c.p99 : c.p99}`];
});
// Twelve pictures by six connections are four requests one after the other.
if (chosen.includes('page')) limits.page_duration = [`p(99)<${4 * c.p99}`];
export const options = c.settings(scenarios, limits);
export const handleSummary = c.summary;

export function redirect() {
  c.draw(c.anyLabel());
}

export function picture() {
  const path = c.draw(c.anyLabel());
  if (path) c.picture(path);
}

// A new visitor: nothing is in the browser's cache, and a picture that is on the page twice is fetched once. A connection that has drawn
// fetches the picture at once, while others draw.
export async function page() {
  const label = c.anyLabel(), began = Date.now(), fetched = new Set();
  let left = onPage;
  const connection = async () => {
    while (left-- > 0) {
      const path = await c.drawAsync(label);
      if (!path || fetched.has(path)) continue;
      fetched.add(path);
      await c.pictureAsync(path);
    }
  };
  await Promise.all(Array.from({ length: connections }, connection));
  whole.add(Date.now() - began);
}
