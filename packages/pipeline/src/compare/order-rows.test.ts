import type { ComparisonRow } from '@kvlr/report';
import { describe, expect, it } from 'vitest';
import { orderRows } from './order-rows.ts';

const sources = ['a', 'a', 'a', 'b', 'b', 'b'];

function row(method: string, ratio: number, losses: number[]): ComparisonRow {
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  return {
    method,
    title: method,
    layout: 'stock',
    ratio,
    keyValueHeads: 8 * ratio,
    perplexity: { value: Math.exp(mean) },
    klDivergence: { value: 0 },
    topOneAgreement: { value: 1 },
    bytesPerToken: 1,
    seconds: 1,
    windows: { sources, negativeLogLikelihoods: losses },
  };
}

const hardness = [2, 3, 4, 5, 6, 7];
const shifted = (shift: number, scatter: number) =>
  hardness.map((loss, index) => loss + shift + (index % 2 === 0 ? scatter : -scatter));

describe('orderRows', () => {
  it('sorts each ratio, and tells differences from noise though windows differ far more', () => {
    const orders = orderRows(
      [
        row('worst', 1 / 2, shifted(0.3, 0.001)),
        row('best', 1 / 2, hardness),
        row('near', 1 / 2, shifted(0.002, 0.02)),
        row('best', 1 / 4, hardness),
      ],
      513,
    );
    expect(orders.map(({ ratio, ranks }) => [ratio, ranks.map(({ method }) => method)])).toEqual([
      [1 / 2, ['best', 'near', 'worst']],
      [1 / 4, ['best']],
    ]);
    const [best, near, worst] = orders[0]!.ranks;
    expect(best).toEqual({ method: 'best' });
    expect(near!.toNext).toMatchObject({ to: 'best', withinNoise: true });
    expect(near!.toNext!.perplexityRatio.value).toBeCloseTo(Math.exp(0.002), 9);
    expect(worst!.toNext).toMatchObject({ to: 'near', withinNoise: false });
    expect(worst!.toBest).toMatchObject({ to: 'best', withinNoise: false });
    expect(worst!.toBest!.perplexityRatio.tokenCount).toBe(6 * 512);
  });

  it('holds groupings against contiguous groups', () => {
    const rows = [
      row('contiguous', 1 / 2, hardness),
      row('measured-error', 1 / 2, shifted(-0.01, 0.001)),
      row('lost-energy', 1 / 2, shifted(0.01, 0.05)),
    ];
    const [order] = orderRows(rows, 513, () => 'contiguous');
    const [measured, contiguous, lost] = order!.ranks;
    expect(measured!.toUsual).toMatchObject({ to: 'contiguous', withinNoise: false });
    expect(measured!.toUsual!.perplexityRatio.value).toBeCloseTo(Math.exp(-0.01), 9);
    expect(contiguous).not.toHaveProperty('toUsual');
    expect(lost!.toUsual).toMatchObject({ withinNoise: true });
  });

  it('gives the order alone where rows have no scores of windows', () => {
    const rows = [row('second', 1, shifted(1, 0)), row('first', 1, hardness)].map(({ windows: _, ...rest }) => rest);
    const [order] = orderRows(rows, 513);
    expect(order!.ranks.map(({ method, toNext }) => [method, toNext])).toEqual([
      ['first', undefined],
      ['second', undefined],
    ]);
  });
});
