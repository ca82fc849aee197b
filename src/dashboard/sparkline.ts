import { html } from 'hono/html';
import type { Sample } from './throughput.js';

const WIDTH = 120;
const HEIGHT = 28;
const BARS = 30;

/** Bytes per second over the window, as bars of a small picture; the newest at the right. */
export function sparkline(samples: readonly Sample[], windowMs: number, label: string) {
  const rates = ratesOf(samples, windowMs);
  const top = Math.max(...rates, 1);
  const step = WIDTH / BARS;
  const path = rates
    .map((rate, index) => {
      const height = rate === 0 ? 0 : Math.max(2, (rate / top) * HEIGHT);
      return height === 0
        ? ''
        : `M${index * step} ${HEIGHT}v-${height.toFixed(1)}h${step - 1}v${height.toFixed(1)}z`;
    })
    .join('');
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${label}"><path class="base" d="M0 ${HEIGHT - 0.5}h${WIDTH}"/><path d="${path}"/></svg>`;
}

/** What came between two samples is spread over the bars that they span. */
function ratesOf(samples: readonly Sample[], windowMs: number): number[] {
  const bars = new Array<number>(BARS).fill(0);
  const end = samples.at(-1)?.atMs ?? 0;
  const barMs = windowMs / BARS;
  const barOf = (atMs: number) => BARS - 1 - Math.floor((end - atMs) / barMs);
  for (const [index, sample] of samples.entries()) {
    const before = samples[index - 1];
    if (before === undefined || sample.bytes <= before.bytes) continue;
    const from = Math.max(0, Math.min(barOf(before.atMs) + 1, barOf(sample.atMs)));
    const to = Math.max(from, barOf(sample.atMs));
    const each = (sample.bytes - before.bytes) / (to - from + 1) / (barMs / 1000);
    for (let bar = from; bar <= to; bar += 1) bars[bar] = (bars[bar] ?? 0) + each;
  }
  return bars;
}
