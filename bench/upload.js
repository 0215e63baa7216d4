// Uploads of new pictures, each looked at afterwards: its record, and its bytes. WIDTH and HEIGHT say how large (64 x 48). They
// are removed again, unless KEEP=yes.
import * as c from './common.js';

c.needToken();
const width = Number(__ENV.WIDTH || 64), height = Number(__ENV.HEIGHT || 48);

export const options = c.settings(c.arrivals('uploads', 'send', c.rate), { 'http_req_duration{name:POST /upload}': [`p(99)<${Number(__ENV.P99_UPLOAD || 1500)}`] });
export const handleSummary = c.summary;

export function send() {
  const p = c.upload(c.anyLabel(), 1.5, width, height);
  if (!p) return;
  c.look(p);
  c.picture(c.pathOf(p));
  if (!c.keep) c.remove(p);
}
