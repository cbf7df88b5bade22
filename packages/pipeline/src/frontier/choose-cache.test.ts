import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { rankCandidates } from './choose-cache.ts';

/** As many as `planCache` measures before it chooses. */
const finalists = 3;

interface Row {
  heads: string;
  cache: string;
  share: number;
  /** Relative change of perplexity, and one standard error. */
  change: number;
  error: number;
  engines: string;
}

const shares: Record<string, number> = {
  '8 heads of 32': 1,
  '2 heads of 64': 1 / 2,
  '1 head of 64': 1 / 4,
  '1 head of 32': 1 / 8,
};

/** The rows of the table of all caches in docs/frontier.md. */
async function measuredRows(): Promise<Row[]> {
  const text = await readFile(new URL('../../../../docs/frontier.md', import.meta.url), 'utf8');
  const percent = (cell: string) => Number(cell.replace('−', '-').replace(/[%+◆\s]/g, '')) / 100;
  return text.split('\n').flatMap((line): Row[] => {
    const cells = line.split('|').slice(1, -1);
    const [heads = '', cache = '', bytes = '', , , , , ratio = '', , , engines = ''] = cells.map((cell) => cell.trim());
    if (cells.length !== 11 || shares[heads] === undefined) return [];
    const [change, error] = ratio.split('±').map(percent);
    return [
      { heads, cache: cache.replaceAll('\\', ''), share: percent(bytes), change: change!, error: error!, engines },
    ];
  });
}

const costOf = ({ change, error }: Row) => Math.log1p(change) + error / (1 + change);

it.each(
  ['kvlr', 'llama.cpp'].flatMap((engine) => [1 / 2, 1 / 4, 1 / 8, 1 / 16].map((budget) => [engine, budget] as const)),
)(
  'in %s within %f of the bytes the rule finds a cache that costs at most a tenth more than the best',
  async (engine, budget) => {
    const rows = (await measuredRows()).filter(({ engines }) => engines.split(', ').includes(engine));
    const find = (heads: string, cache: string) => rows.find((row) => row.heads === heads && row.cache === cache);
    const own = rows.filter(({ heads }) => heads === '8 heads of 32');
    expect(own.length).toBeGreaterThan(5);
    const ranked = rankCandidates(
      Object.entries(shares).map(([name, share]) => ({
        name,
        share,
        cost: share === 1 ? 0 : costOf(find(name, 'f16')!),
      })),
      own.map((row) => ({ name: row.cache, cost: costOf(row) })),
      (heads, cache) => find(heads, cache)?.share,
      budget,
    );
    const chosen = ranked
      .slice(0, finalists)
      .map(({ heads, cache }) => find(heads, cache)!)
      .reduce((better, row) => (costOf(row) < costOf(better) ? row : better));
    const within = rows.filter(({ share }) => share <= budget * (1 + 1e-9));
    const best = within.reduce((better, row) => (row.change < better.change ? row : better));
    expect(chosen.change).toBeLessThanOrEqual(1.1 * Math.max(best.change, 0) + best.error);
  },
);
