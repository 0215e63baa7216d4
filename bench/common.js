// What the scripts share: where to send requests, and what every answer must look like. Environment:
//   BASE_URL   the service (http://127.0.0.1:8080); a deployed host is meant only when it is named
//   TOKEN      for uploads and changes; "dev" on loopback
//   RATE       iterations a second      DURATION   such as 30s
//   LABELS     cat,dog                  P99        the slowest that one draw in a hundred may be, in ms (250)
//   MAX_DROPPED  requests that may not be sent in time (0)
//   KEEP=yes   leaves what was uploaded there; without it, it is removed again
//   SUMMARY    a file for all metrics, as JSON
import http from 'k6/http';
import { check } from 'k6';

export const base = (__ENV.BASE_URL || 'http://127.0.0.1:8080').replace(/\/+$/, '');
export const loopback = /^http:\/\/(127\.0\.0\.1|localhost|\[::1\])(:|$)/.test(base);
export const token = __ENV.TOKEN || (loopback ? 'dev' : '');
export const labels = (__ENV.LABELS || 'cat,dog').split(',');
export const rate = Number(__ENV.RATE || 50);
export const duration = __ENV.DURATION || '30s';
export const p99 = Number(__ENV.P99 || 250);
export const keep = __ENV.KEEP === 'yes';

// secondsOf a duration such as 90s or 1m30s.
export function secondsOf(text) {
  const m = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text);
  if (!m || !text) throw new Error(`DURATION=${text} is not like 30s, 2m or 1h30m`);
  return 3600 * Number(m[1] || 0) + 60 * Number(m[2] || 0) + Number(m[3] || 0);
}
export const seconds = secondsOf(duration);

export function needToken() {
  if (!token) throw new Error('TOKEN is not set: this script uploads');
}

// arrivals is a scenario with a steady rate, whatever the answers take; none when the rate is 0.
export function arrivals(name, exec, perSecond, more) {
  if (!perSecond) return {};
  const unit = perSecond >= 1 ? { rate: Math.round(perSecond), timeUnit: '1s' } : { rate: 1, timeUnit: `${Math.round(1000 / perSecond)}ms` };
  return {
    [name]: Object.assign(
      { executor: 'constant-arrival-rate', exec, duration, preAllocatedVUs: Math.max(10, Math.min(150, Math.ceil(perSecond))), maxVUs: 400, gracefulStop: '10s' },
      unit, more),
  };
}

// lasts is how many seconds each scenario is meant to last: k6's summary does not tell.
const lasts = {};

// settings are the options of a script: one wrong answer fails the run, and so does being slow or unable to send what was asked for. So does
// a scenario that asked nothing; to k6 a rate of nothing is a good one.
export function settings(scenarios, limits) {
  const checked = {};
  for (const [name, s] of Object.entries(scenarios)) {
    checked[`checks{scenario:${name}}`] = ['rate==1'];
    checked[`http_reqs{scenario:${name}}`] = ['count>0'];
    lasts[name] = s.stages ? s.stages.reduce((sum, stage) => sum + secondsOf(stage.duration), 0) : secondsOf(s.duration);
  }
  return {
    scenarios,
    thresholds: Object.assign({ checks: ['rate==1'], dropped_iterations: [`count<=${Number(__ENV.MAX_DROPPED || 0)}`], http_req_failed: ['rate==0'] }, checked, limits),
    summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max', 'count'],
    noConnectionReuse: false,
    discardResponseBodies: false,
  };
}

export const anyLabel = () => labels[Math.floor(Math.random() * labels.length)];

const has = (name, value) => (r) => r.headers[name] === value;
const open = {
  'nosniff': has('X-Content-Type-Options', 'nosniff'),
  'any origin may use it': has('Access-Control-Allow-Origin', '*'),
  'cross-origin resource': has('Cross-Origin-Resource-Policy', 'cross-origin'),
  'timing is open': has('Timing-Allow-Origin', '*'),
};
const uncached = { 'no-store': has('Cache-Control', 'no-store') };

const drawn = {};
for (const label of ['cat', 'dog']) {
  const location = new RegExp(`^/${label}/[0-9a-f]{32}\\.(jpg|png|webp)$`);
  drawn[label] = Object.assign({
    'draw is a 302': (r) => r.status === 302,
    'Location is /<label>/<id>.<ext>': (r) => location.test(r.headers.Location || ''),
    'no body': (r) => !r.body || r.body.length === 0,
  }, open, uncached);
}

let i = 0;
const drawParams = { redirects: 0, tags: { name: 'GET /random' } };

// drawRequest is a draw for http.batch; &i= keeps a browser from reusing one picture for equal addresses.
export const drawRequest = (label) => ['GET', `${base}/random?label=${label}&i=${i++}`, null, drawParams];
export function checkDraw(r, label) {
  check(r, drawn[label]);
  return r.headers.Location;
}
export const draw = (label) => checkDraw(http.get(drawRequest(label)[1], drawParams), label);
export const drawAsync = async (label) => checkDraw(await http.asyncRequest(...drawRequest(label)), label);

const types = { jpg: 'image/jpeg', png: 'image/png', webp: 'image/webp' };
const magic = {
  jpg: (b) => b[0] === 0xff && b[1] === 0xd8 && b[2] === 0xff && b[b.length - 2] === 0xff && b[b.length - 1] === 0xd9,
  png: (b) => text(b, 1, 4) === 'PNG' && text(b, b.length - 8, b.length - 4) === 'IEND',
  webp: (b) => text(b, 0, 4) === 'RIFF' && text(b, 8, 12) === 'WEBP' && (b[4] | b[5] << 8 | b[6] << 16 | b[7] << 24) === b.length - 8,
};
const text = (b, from, to) => String.fromCharCode(...b.subarray(from, to));
const pictured = {};
for (const ext in types) {
  pictured[ext] = Object.assign({
    'picture is a 200': (r) => r.status === 200,
    'its type': has('Content-Type', types[ext]),
    'kept for a year': has('Cache-Control', 'public, max-age=31536000, immutable'),
    'sandboxed': has('Content-Security-Policy', "sandbox; default-src 'none'"),
    'has an ETag': (r) => !!r.headers.Etag,
    'bytes are a picture': (r) => r.body && r.body.byteLength > 20 && magic[ext](new Uint8Array(r.body)),
  }, open);
}
const pictureParams = { responseType: 'binary', tags: { name: 'GET /<label>/<picture>' } };

export const pictureRequest = (path) => ['GET', base + path, null, pictureParams];
export function checkPicture(r, path) {
  return check(r, pictured[path.slice(path.lastIndexOf('.') + 1)]);
}
export function picture(path) {
  const r = http.get(base + path, pictureParams);
  checkPicture(r, path);
  return r;
}
export const pictureAsync = async (path) => checkPicture(await http.asyncRequest(...pictureRequest(path)), path);

const authorized = (name, more) => Object.assign({ headers: Object.assign({ Authorization: `Bearer ${token}` }, more), tags: { name } });
const record = (r) => { try { return r.json(); } catch { return {}; } };

// upload sends a picture that nobody has sent before, in turns as a form and as the body, and returns its record.
export function upload(label, weight, width, height) {
  const bytes = noise(width, height);
  const r = i++ % 2
    ? http.post(`${base}/upload?label=${label}&weight=${weight}`, bytes, authorized('POST /upload', { 'Content-Type': 'image/png' }))
    : http.post(`${base}/upload`, { label, weight: String(weight), image: http.file(bytes, 'picture.png', 'image/png') }, authorized('POST /upload'));
  const p = record(r);
  check(r, Object.assign({
    'upload is a 201': () => r.status === 201,
    'its Location is the record': () => r.headers.Location === `/pets/${label}/${p.id}`,
    'created, with what was sent': () => p.created === true && p.label === label && p.weight === weight && p.width === width && p.height === height,
    'its URL is a picture of the label': () => new RegExp(`/${label}/${p.id}\\.png$`).test(p.url || ''),
    'no-store': uncached['no-store'],
  }, { 'nosniff': open.nosniff }));
  return r.status === 201 ? p : null;
}

export const pathOf = (p) => p.url.replace(/^https?:\/\/[^/]+/, '');

export function look(p) {
  const r = http.get(`${base}/pets/${p.label}/${p.id}`, { tags: { name: 'GET /pets/<label>/<id>' } });
  check(r, { 'record is a 200': () => r.status === 200, 'record has an ETag': () => !!r.headers.Etag, 'record is that of the picture': () => record(r).id === p.id });
  return record(r);
}

export function setWeight(p, weight) {
  const r = http.patch(`${base}/pets/${p.label}/${p.id}`, JSON.stringify({ weight }), authorized('PATCH /pets/<label>/<id>', { 'Content-Type': 'application/json' }));
  check(r, {
    'change is a 200': () => r.status === 200, 'change is in the record': () => record(r).weight === weight && record(r).id === p.id, 'no-store': uncached['no-store'],
  });
}

const isGone = http.expectedStatuses(410), hasNoBytes = http.expectedStatuses(403, 404);

export function remove(p) {
  const r = http.del(`${base}/pets/${p.label}/${p.id}?purge=true&block=false`, null, authorized('DELETE /pets/<label>/<id>'));
  check(r, { 'removal is a 200': () => r.status === 200, 'receipt names the picture': () => record(r).id === p.id && record(r).bytes === 'deleted' });
}

// checkGone of a picture that was removed: its record says so.
export function checkGone(p) {
  const r = http.get(`${base}/pets/${p.label}/${p.id}`, { tags: { name: 'GET /pets/<label>/<id>' }, responseCallback: isGone });
  check(r, { 'record of what was removed is a 410': () => r.status === 410, 'as a problem': has('Content-Type', 'application/problem+json') });
}

// checkNoBytes of a picture that was removed: neither the bucket has it nor, on this machine, the edge. S3 says 403 of what is not there to
// those who may not list.
export function checkNoBytes(path) {
  const r = http.get(base + path, Object.assign({ responseCallback: hasNoBytes }, pictureParams));
  check(r, { 'bytes of what was removed are gone': () => r.status === 403 || r.status === 404 });
}

// noise is a PNG of random pixels, not compressed.
export function noise(width, height) {
  const row = 1 + 3 * width, data = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) for (let x = 1; x < row; x++) data[y * row + x] = Math.random() * 256;
  const blocks = [0x78, 0x01];
  const out = [];
  for (let at = 0; at < data.length; at += 65535) {
    const n = Math.min(65535, data.length - at);
    out.push(new Uint8Array([...(at ? [] : blocks), at + n === data.length ? 1 : 0, n & 255, n >> 8, ~n & 255, (~n >> 8) & 255]), data.subarray(at, at + n));
  }
  let a = 1, b = 0;
  for (const v of data) { a = (a + v) % 65521; b = (b + a) % 65521; }
  out.push(big(((b << 16) | a) >>> 0));
  return join([
    new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', join([big(width), big(height), new Uint8Array([8, 2, 0, 0, 0])])), chunk('IDAT', join(out)), chunk('IEND', new Uint8Array(0)),
  ]).buffer;
}

const big = (n) => new Uint8Array([n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);

function join(parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) { all.set(p, at); at += p.length; }
  return all;
}

const crcs = new Uint32Array(256).map((_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n; });

function chunk(name, data) {
  const body = join([new Uint8Array([...name].map((c) => c.charCodeAt(0))), data]);
  let crc = 0xffffffff;
  for (const v of body) crc = crcs[(crc ^ v) & 255] ^ (crc >>> 8);
  return join([big(data.length), body, big((crc ^ 0xffffffff) >>> 0)]);
}

// summary is every script's handleSummary: a line for each threshold, and all metrics as JSON where SUMMARY says, with the seconds that each
// scenario was to last.
export function summary(data) {
  let out = '\n';
  for (const name of Object.keys(data.metrics).sort()) {
    const m = data.metrics[name];
    for (const [rule, t] of Object.entries(m.thresholds || {})) {
      const v = m.values;
      const seen = v['p(99)'] !== undefined ? `p50 ${v.med.toFixed(2)} p99 ${v['p(99)'].toFixed(2)} ms of ${v.count}` : v.rate !== undefined && v.passes !== undefined ? `${v.passes} of ${v.passes + v.fails}` : `${v.count}`;
      out += `${t.ok ? '  ok  ' : 'MISSED'} ${name} ${rule}: ${seen}\n`;
    }
  }
  for (const group of data.root_group.checks || []) {
    if (group.fails) out += `FAILED ${group.name}: ${group.fails} of ${group.fails + group.passes}\n`;
  }
  return Object.assign({ stdout: out }, __ENV.SUMMARY ? { [__ENV.SUMMARY]: JSON.stringify(Object.assign({ seconds: lasts }, data)) } : {});
}
