import type { CachePolicy } from '@kvlr/core';
import { highest } from './most-attended.ts';

/**
 * KVzip (arXiv 2505.23416): whatever will be asked, what matters of a text is what its own repetition needs. The text is read once more
 * behind its whole cache; a token is worth the greatest attention that it gets from that, of any query and head of its slot, and the most
 * worth ones stay. As many in every slot here, where the paper also spreads a budget over all heads; the text follows itself without words
 * that ask for its repetition.
 */
export const mostReconstructing: CachePolicy = {
  title: 'what the text needs when it is read again',
  source: 'arXiv 2505.23416',
  observedQueries: 0,
  readsAgain: true,
  keep({ greatest, budget, positions }) {
    const worth = Float64Array.from(positions, (_, token) => greatest?.[token] ?? 0);
    return { places: highest(worth, budget) };
  },
};
