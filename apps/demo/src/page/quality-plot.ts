import { formatBytes, formatChange } from '@kvlr/report';
import { type CodecScore, type PairRecord, type PairSet, scoreOf, usualCodec } from '../pair.ts';
import { Drawing, element, svg } from './elements.ts';

interface PlotPoint {
  record: PairRecord;
  score: CodecScore;
  /** Change of perplexity, 0.012 for +1.2 %. */
  cost: number;
}

const height = 320;
const margin = { left: 62, right: 20, top: 18, bottom: 52 };

/** Room of a label, and how far from its neighbours it is read. */
const labelBox = { character: 7.5, height: 14 };

/** Perplexity against bytes of cache, a line for each codec, that of the setting in its colour; one point, large, is the setting. */
export class QualityPlot {
  readonly #place = element('#quality-plot');
  readonly #drawing = new Drawing(this.#place);

  show(set: PairSet, chosen: PairRecord, codec: string): void {
    const pointOf = (record: PairRecord, name: string): PlotPoint => {
      const score = scoreOf(record, name);
      return { record, score, cost: score.perplexityRatio.value - 1 };
    };
    const lines = set.codecs.map(({ name, title }) => ({
      title,
      chosen: name === codec,
      points: set.records.map((record) => pointOf(record, name)),
    }));
    const here = pointOf(chosen, codec);
    const usual = scoreOf(set.records[0]!, usualCodec);
    this.#drawing.show((width) => draw(width, { lines, here, usual }));
  }
}

interface PlotLine {
  title: string;
  /** It is that of the setting. */
  chosen: boolean;
  points: PlotPoint[];
}

interface PlotRequest {
  lines: PlotLine[];
  here: PlotPoint;
  usual: CodecScore;
}

function draw(width: number, { lines, here, usual }: PlotRequest): SVGElement {
  const all = lines.flatMap(({ points }) => points);
  const least = Math.min(...all.map(({ score }) => score.bytesPerToken));
  const doublings = Math.ceil(Math.log2(usual.bytesPerToken / least));
  const lowest = Math.min(0, ...all.map(({ cost }) => cost));
  const highest = niceCeiling(Math.max(0.02, ...all.map(({ cost }) => cost)));
  const [left, right, top, bottom] = [margin.left, width - margin.right, margin.top, height - margin.bottom];
  const x = (bytes: number) => right - (Math.log2(usual.bytesPerToken / bytes) / doublings) * (right - left);
  const y = (cost: number) => bottom - ((cost - lowest) / (highest - lowest)) * (bottom - top);
  const shapes: SVGElement[] = [];
  for (const tick of [0, highest / 4, highest / 2, (3 * highest) / 4, highest]) {
    shapes.push(svg('line', { x1: left, x2: right, y1: y(tick), y2: y(tick), class: tick === 0 ? 'axis' : 'grid' }));
    const label = tick === 0 ? '±0%' : formatChange(tick, highest < 0.04 ? 1 : 0);
    shapes.push(svg('text', { x: left - 10, y: y(tick) + 4, class: 'tick end' }, label));
  }
  for (let place = 0; place <= doublings; place++) {
    const bytes = usual.bytesPerToken / 2 ** place;
    const anchor = place === 0 ? 'tick end' : 'tick middle';
    shapes.push(svg('text', { x: place === 0 ? right : x(bytes), y: bottom + 22, class: anchor }, formatBytes(bytes)));
  }
  shapes.push(svg('text', { x: right, y: bottom + 42, class: 'tick end' }, 'KV cache per token'));
  shapes.push(svg('text', { x: left, y: 10, class: 'tick' }, 'perplexity, against the original’s'));
  for (const { chosen, points } of [...lines].sort((a, b) => Number(a.chosen) - Number(b.chosen))) {
    const d = points
      .map(({ score, cost }, place) => `${place ? 'L' : 'M'}${x(score.bytesPerToken)} ${y(cost)}`)
      .join('');
    shapes.push(svg('path', { d, class: chosen ? 'series chosen' : 'series' }));
    for (const { score, cost } of points) {
      shapes.push(svg('circle', { cx: x(score.bytesPerToken), cy: y(cost), r: 3, class: 'point' }));
    }
  }
  const ends = lines.map(({ title, chosen, points }) => {
    const last = points.at(-1)!;
    const labelX = Math.max(x(last.score.bytesPerToken), left + (title.length * labelBox.character) / 2);
    return { title, chosen, labelX, labelY: Math.max(y(last.cost) - 10, top + 8) };
  });
  for (const { title, chosen, labelX, labelY } of withoutOverlap(ends)) {
    const attributes = { x: labelX, y: labelY, class: chosen ? 'tick middle chosen' : 'tick middle' };
    shapes.push(svg('text', attributes, title));
  }
  const dot = svg('circle', { r: 8, class: 'here' });
  dot.style.transform = `translate(${x(here.score.bytesPerToken)}px, ${y(here.cost)}px)`;
  shapes.push(dot);
  const sentence =
    `Perplexity against bytes of cache. The setting takes ${formatBytes(here.score.bytesPerToken)} a token, ` +
    `at ${formatChange(here.cost)} perplexity.`;
  return svg(
    'svg',
    { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': sentence },
    ...shapes,
  );
}

interface PlotLabel {
  title: string;
  chosen: boolean;
  labelX: number;
  labelY: number;
}

/** Labels that are read beside each other: the setting's, then the outermost lines', then what finds room. */
function withoutOverlap(labels: readonly PlotLabel[]): PlotLabel[] {
  const isOuter = (label: PlotLabel) => label === labels[0] || label === labels.at(-1);
  const rank = (label: PlotLabel) => (label.chosen ? 0 : isOuter(label) ? 1 : 2);
  const shown: PlotLabel[] = [];
  for (const label of [...labels].sort((a, b) => rank(a) - rank(b))) {
    const meets = (other: PlotLabel) =>
      Math.abs(label.labelY - other.labelY) < labelBox.height &&
      Math.abs(label.labelX - other.labelX) < ((label.title.length + other.title.length) * labelBox.character) / 2;
    if (!shown.some(meets)) shown.push(label);
  }
  return shown;
}

/** The next 1, 2 or 4 times a power of ten. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 4].find((step) => value <= step * power) ?? 10);
}
