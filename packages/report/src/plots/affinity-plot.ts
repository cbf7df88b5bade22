import type { LayerHeads } from '../documents/compression-report.ts';
import { formatPercent } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { label, type Plot } from './plot.ts';

const [width, height, top, left, side] = [300, 280, 30, 40, 230] as const;

/** How much two heads of a layer have in common, as tones of a square; those that share one head are outlined. */
export function affinityPlot({ layer, groups, affinity }: LayerHeads): Plot {
  const cell = side / affinity.length;
  const [lowest, highest] = rangeOf(affinity);
  const tone = (value: number) => (highest > lowest ? (value - lowest) / (highest - lowest) : 0.5);
  const shapes: Markup[] = [label(`Layer ${layer}`, 4, 15, { className: 'strong' })];
  // In the order of the groups, so that each is one square on the diagonal.
  const order = groups.flat();
  for (const [row, first] of order.entries()) {
    const name = String(first);
    shapes.push(label(name, left - 6, top + (row + 0.5) * cell + 4, { anchor: 'end', className: 'small muted' }));
    const middle = left + (row + 0.5) * cell;
    shapes.push(label(name, middle, top + side + 15, { anchor: 'middle', className: 'small muted' }));
    for (const [column, second] of order.entries()) {
      const value = affinity[first]![second]!;
      const opacity = first === second ? '1' : (0.08 + 0.84 * tone(value)).toFixed(2);
      const place = { x: (left + column * cell).toFixed(1), y: (top + row * cell).toFixed(1) };
      const size = { width: (cell - 1).toFixed(1), height: (cell - 1).toFixed(1) };
      const title = element('title', {}, `heads ${first} and ${second}: ${formatPercent(value)}`);
      shapes.push(element('rect', { ...place, ...size, class: 'f-0', 'fill-opacity': opacity }, title));
    }
  }
  let start = 0;
  for (const { length } of groups) {
    const place = { x: (left + start * cell - 0.5).toFixed(1), y: (top + start * cell - 0.5).toFixed(1) };
    const size = { width: (length * cell).toFixed(1), height: (length * cell).toFixed(1) };
    shapes.push(element('rect', { ...place, ...size, class: 'line s-1' }));
    start += length;
  }
  const named = groups.map((group) => group.join(' and ')).join('; ');
  return {
    width,
    height,
    title: `What heads of layer ${layer} have in common`,
    description: `Heads that share one: ${named}. Between two heads ${formatPercent(lowest)} to ${formatPercent(highest)} of the directions are the same.`,
    shapes,
  };
}

/** Least and greatest affinity of two heads that are not the same. */
function rangeOf(affinity: LayerHeads['affinity']): [lowest: number, highest: number] {
  const values = affinity.flatMap((row, first) => row.filter((_, second) => first !== second));
  return values.length === 0 ? [1, 1] : [Math.min(...values), Math.max(...values)];
}
