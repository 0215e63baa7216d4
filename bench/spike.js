// A crowd out of nowhere: RATE draws a second, PEAK within a second (ten times as many), kept for DURATION, and back.
import * as c from './common.js';

const peak = Number(__ENV.PEAK || 10 * c.rate);

export const options = c.settings({
  crowd: {
    executor: 'ramping-arrival-rate', exec: 'draws', startRate: c.rate, timeUnit: '1s', preAllocatedVUs: Math.max(20, Math.ceil(peak / 4)), maxVUs: Math.max(100, peak),
    stages: [
      { target: c.rate, duration: '5s' }, { target: peak, duration: '1s' }, { target: peak, duration: c.duration },
      { target: c.rate, duration: '1s' }, { target: c.rate, duration: '5s' },
    ],
  },
}, { 'http_req_duration{scenario:crowd}': [`p(99)<${2 * c.p99}`] });
export const handleSummary = c.summary;

export function draws() {
  c.draw(c.anyLabel());
}
