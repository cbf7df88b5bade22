import { formatCount } from '@kvlr/report';
import type { PairRecord } from '../pair.ts';
import type { LayerPictures, Pictures } from '../pictures.ts';
import { Dial } from './dial.ts';
import { Drawing, element, setText, svg } from './elements.ts';

const percent = (share: number): string => `${Math.round(100 * share)}%`;
const height = 190;

/** The pictures of a run: three of one layer, which a slider chooses, and one of all. */
export class PictureSection {
  readonly #drawings = {
    energy: new Drawing(element('#picture-energy')),
    affinity: new Drawing(element('#picture-affinity')),
    frequencies: new Drawing(element('#picture-frequencies')),
    errors: new Drawing(element('#picture-errors')),
  };
  readonly #layer = new Dial<number>(element('#layer-dial'), 'Layer', () => this.#draw());
  #pictures: Pictures | undefined;

  /** Shows a record's pictures; those of a record without any stay as they are. */
  show(record: PairRecord, modelName: string): void {
    const { pictures } = record;
    if (pictures === undefined || pictures === this.#pictures) return;
    const layer = this.#pictures === undefined ? 0 : Math.min(this.#layer.value, pictures.layers.length - 1);
    this.#pictures = pictures;
    const kept = `${record.keyValueHeads} KV ${record.keyValueHeads === 1 ? 'head' : 'heads'} of ${record.headDim}`;
    setText('#pictures-intro', `From the run that compressed ${modelName} to ${kept}, layer by layer.`);
    const stops = pictures.layers.map((_, index) => ({
      value: index,
      label: String(index + 1),
      title: `${index + 1} of ${pictures.layers.length}`,
    }));
    this.#layer.show(thinned(stops), layer);
    this.#draw();
  }

  #draw(): void {
    const { layers, wavelengths } = this.#pictures!;
    const chosen = this.#layer.value;
    const layer = layers[chosen]!;
    this.#drawings.energy.show((width) => drawEnergy(width, layer.energy));
    this.#drawings.affinity.show((width) => drawAffinity(width, layer));
    this.#drawings.frequencies.show((width) => drawFrequencies(width, layer.lostByFrequency, wavelengths));
    this.#drawings.errors.show((width) => drawErrors(width, layers, chosen));
  }
}

/** Labels of a slider with many stops would lie on each other: every so many keep theirs. */
function thinned<Stop extends { label: string }>(stops: Stop[]): Stop[] {
  const step = Math.ceil(stops.length / 12);
  return stops.map((stop, index) => (index % step === 0 || index === stops.length - 1 ? stop : { ...stop, label: '' }));
}

function frame(width: number, label: string, ...shapes: SVGElement[]): SVGElement {
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label }, ...shapes);
}

function text(x: number, y: number, className: string, content: string): SVGElement {
  return svg('text', { x, y, class: className }, content);
}

/** Share of the energy in the strongest directions: curves that rise early are easy to compress. */
function drawEnergy(width: number, energy: LayerPictures['energy']): SVGElement {
  const [left, right, top, bottom] = [36, width - 8, 8, height - 34];
  const series: [name: string, values: number[], className: string][] = [
    ['keys before RoPE', energy.keysBeforeRope, 'main'],
    ['keys after RoPE', energy.keysAfterRope, 'other'],
    ['values', energy.values, 'third'],
  ];
  const x = (place: number, count: number) => left + ((place + 1) / count) * (right - left);
  const y = (share: number) => bottom - share * (bottom - top);
  const shapes = [0, 0.5, 1].flatMap((share) => [
    svg('line', { x1: left, x2: right, y1: y(share), y2: y(share), class: share === 0 ? 'axis' : 'grid' }),
    text(left - 6, y(share) + 4, 'tick end', percent(share)),
  ]);
  for (const [, values, className] of series) {
    const path = values.map((share, place) => `L${x(place, values.length)} ${y(share)}`).join('');
    shapes.push(svg('path', { d: `M${left} ${bottom}${path}`, class: `curve ${className}` }));
  }
  const quarter = (values: number[]) => values[Math.round(values.length / 4) - 1]!;
  series.forEach(([name, values, className], place) => {
    const label = `${name}: ${percent(quarter(values))} in 1/4`;
    shapes.push(
      svg('line', {
        x1: right - 200,
        x2: right - 184,
        y1: bottom - 46 + 17 * place,
        y2: bottom - 46 + 17 * place,
        class: `curve ${className}`,
      }),
    );
    shapes.push(text(right - 178, bottom - 42 + 17 * place, 'tick', label));
  });
  shapes.push(text(right, height - 6, 'tick end', 'of all directions, strongest first'));
  const parts = series.map(([name, values]) => `${percent(quarter(values))} of ${name}`);
  return frame(width, `In a quarter of the directions lie ${parts.join(', ')}.`, ...shapes);
}

/** Heads against heads; those that share one stand next to each other, outlined. */
function drawAffinity(width: number, { affinity, groups }: LayerPictures): SVGElement {
  const order = groups.flat();
  const count = order.length;
  const size = Math.min((height - 22) / count, (width - 40) / count, 28);
  const left = (width - size * count) / 2;
  const top = 4;
  const shapes: SVGElement[] = [];
  const others = order.flatMap((row) => order.flatMap((column) => (row === column ? [] : affinity[row]![column]!)));
  const [least, most] = [Math.min(...others), Math.max(...others)];
  order.forEach((row, y) => {
    order.forEach((column, x) => {
      const share = affinity[row]![column]!;
      const place = { x: left + x * size, y: top + y * size, width: size - 1, height: size - 1 };
      const cell = svg('rect', { ...place, class: row === column ? 'cell same' : 'cell' });
      // Between the pair that is least alike and the one that is most: most pairs have much in common.
      if (row !== column) cell.style.opacity = String(0.08 + (0.87 * (share - least)) / (most - least || 1));
      cell.append(svg('title', {}, `heads ${row + 1} and ${column + 1}: ${percent(share)}`));
      shapes.push(cell);
    });
    if (count <= 16) shapes.push(text(left - 6, top + (y + 0.5) * size + 4, 'tick end', String(row + 1)));
  });
  let begin = 0;
  for (const group of groups) {
    const side = group.length * size - 1;
    shapes.push(
      svg('rect', { x: left + begin * size, y: top + begin * size, width: side, height: side, class: 'group' }),
    );
    begin += group.length;
  }
  shapes.push(
    text(
      left + (count * size) / 2,
      Math.min(height - 2, top + count * size + 14),
      'tick middle',
      `KV heads: ${percent(least)} to ${percent(most)} in common`,
    ),
  );
  const told = groups.map((group) => group.map((head) => head + 1).join(' and ')).join('; ');
  return frame(width, `Affinity of ${count} KV heads. Sharing one head: ${told}.`, ...shapes);
}

/** A bar for each RoPE frequency. */
function drawFrequencies(width: number, lost: readonly number[], wavelengths: readonly number[]): SVGElement {
  const [left, right, top, bottom] = [36, width - 8, 8, height - 34];
  if (lost.length === 0)
    return frame(
      width,
      'Not known of this model.',
      text(left, 40, 'tick', 'This model’s keys are not rotated in halves.'),
    );
  const most = Math.max(0.02, ...lost);
  const step = (right - left) / lost.length;
  const y = (share: number) => bottom - (share / most) * (bottom - top);
  const shapes = [0, most / 2, most].flatMap((share) => [
    svg('line', { x1: left, x2: right, y1: y(share), y2: y(share), class: share === 0 ? 'axis' : 'grid' }),
    text(left - 6, y(share) + 4, 'tick end', percent(share)),
  ]);
  lost.forEach((share, place) => {
    const bar = svg('rect', {
      x: left + place * step + 1,
      y: y(share),
      width: Math.max(1, step - 2),
      height: bottom - y(share),
      class: 'bar',
    });
    bar.append(
      svg('title', {}, `once round in ${formatCount(wavelengths[place] ?? 0)} tokens: ${percent(share)} lost`),
    );
    shapes.push(bar);
  });
  shapes.push(text(left, height - 6, 'tick', `${formatCount(wavelengths[0] ?? 0)} tokens a turn`));
  shapes.push(text(right, height - 6, 'tick end', `${formatCount(wavelengths.at(-1) ?? 0)} tokens`));
  const worst = lost.indexOf(Math.max(...lost));
  const label = `Most is lost, ${percent(lost[worst]!)}, at the frequency that goes round in ${formatCount(wavelengths[worst] ?? 0)} tokens.`;
  return frame(width, label, ...shapes);
}

/** Two bars for each layer: the closed form's error, and what is left. */
function drawErrors(width: number, layers: readonly LayerPictures[], chosen: number): SVGElement {
  const [left, right, top, bottom] = [36, width - 8, 24, height - 34];
  const errors = layers.map(({ error }) => error);
  if (errors.every((error) => error === undefined)) {
    return frame(
      width,
      'Not measured in this run.',
      text(left, 40, 'tick', 'Measured where something follows the closed forms.'),
    );
  }
  const most = Math.max(...errors.map((error) => error?.closedForm ?? 0), ...errors.map((error) => error?.kept ?? 0));
  const step = (right - left) / layers.length;
  const y = (share: number) => bottom - (share / most) * (bottom - top);
  const shapes = [0, most].flatMap((share) => [
    svg('line', { x1: left, x2: right, y1: y(share), y2: y(share), class: share === 0 ? 'axis' : 'grid' }),
    text(left - 6, y(share) + 4, 'tick end', percent(share)),
  ]);
  errors.forEach((error, place) => {
    if (error === undefined) return;
    const x = left + place * step;
    const part = (share: number, offset: number, className: string) =>
      svg('rect', {
        x: x + step * offset,
        y: y(share),
        width: step * 0.36,
        height: bottom - y(share),
        class: className,
      });
    const before = part(error.closedForm, 0.12, 'bar faint');
    const after = part(error.kept, 0.5, 'bar');
    after.append(svg('title', {}, `layer ${place + 1}: ${percent(error.closedForm)}, then ${percent(error.kept)}`));
    shapes.push(before, after);
    if (layers.length <= 16) {
      shapes.push(
        text(x + step / 2, height - 18, place === chosen ? 'tick middle strong' : 'tick middle', String(place + 1)),
      );
    }
  });
  shapes.push(
    svg('rect', { x: left, y: 2, width: 10, height: 10, class: 'bar faint' }),
    text(left + 15, 11, 'tick', 'closed form'),
  );
  shapes.push(
    svg('rect', { x: left + 96, y: 2, width: 10, height: 10, class: 'bar' }),
    text(left + 111, 11, 'tick', 'kept'),
  );
  shapes.push(text(right, height - 3, 'tick end', 'layer'));
  const told = errors.map((error) => percent(error?.kept ?? 0)).join(', ');
  return frame(width, `Held-out errors by layer: ${told}.`, ...shapes);
}
