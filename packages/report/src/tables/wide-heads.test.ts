import { stockLayout } from '@kvlr/core';
import { expect, it } from 'vitest';
import { modelCard } from '../markdown/model-card.ts';
import { exampleComparison, exampleCompression, exampleShape } from '../testing/example-reports.ts';
import { comparisonDetailTable, comparisonTable } from './comparison-tables.ts';
import { headlineTable } from './compression-tables.ts';

it('states the price of wide heads beside the bytes', () => {
  const shape = exampleShape(2);
  const layers = shape.layers.map((layer) => ({ ...layer, cache: stockLayout(2, 64) }));
  const report = { ...exampleCompression(), resultShape: { ...shape, headDim: 64, layers } };
  const rows = new Map(headlineTable(report).rows.map(([title, ...cells]) => [title, cells]));
  expect(rows.get('KV heads per layer')).toEqual(['8 of 32', '2 of 64', '']);
  const [before, after, change] = rows.get('Parameters')!.map(String);
  const count = (cell: string | undefined) => Number(cell!.replaceAll(',', ''));
  // Query and output projections twice as wide, key and value ones half as large.
  expect(count(after) - count(before)).toBe(6 * 256 * (2 * 256 - 2 * 128));
  expect(change).toMatch(/^\+/);
  expect(rows.get('Attention, products per cached token')).toEqual(['3,072', '6,144', '+100.0%']);
  expect(modelCard(report)).toContain('8 to 2 KV heads of 64');
});

it('says nothing of a price where heads keep their width', () => {
  const titles = headlineTable(exampleCompression()).rows.map(([title]) => title);
  expect(titles).not.toContain('Parameters');
});

it('sets rows of several widths beside each other at equal bytes', () => {
  const comparison = exampleComparison();
  const row = comparison.rows.find(({ keyValueHeads, layout }) => keyValueHeads === 4 && layout === 'stock')!;
  const wide = { ...row, method: '2x', title: 'Heads 2 times as wide', keyValueHeads: 2, headWidth: 2 };
  const report = { ...comparison, rows: [wide, { ...row, method: '1x', title: "Heads of the model's width" }] };
  expect(comparisonTable(report).columns.at(-1)!.title).toMatch(/\(4 heads\)$/);
  const { columns, rows } = comparisonDetailTable(report, row.ratio);
  const place = columns.findIndex(({ title }) => title === 'KV heads');
  expect(columns[place + 1]!.title).toBe('Attention');
  expect(rows.map((cells) => cells.slice(place, place + 2))).toEqual([
    ['8 of 32', '1x'],
    ['2 of 64', '2x'],
    ['4 of 32', '1x'],
  ]);
});
