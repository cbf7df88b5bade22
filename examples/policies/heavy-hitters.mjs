/**
 * Heavy hitters (H2O, arXiv 2306.14048): half of the budget goes to the tokens that have had most attention so far, half to the newest.
 *
 *     kvlr compare --bytes f16 f16+policy=./heavy-hitters.mjs+keep=25%
 */
export default {
  title: 'heavy hitters and the newest',
  source: 'arXiv 2306.14048',
  observedQueries: 0,
  keep({ positions, attentionSum, budget }) {
    const tokens = positions.length;
    const newest = Math.ceil(budget / 2);
    const older = Array.from({ length: tokens - newest }, (_, place) => place);
    const hitters = older.sort((a, b) => attentionSum[b] - attentionSum[a]).slice(0, budget - newest);
    const recent = Array.from({ length: newest }, (_, i) => tokens - newest + i);
    return { places: Int32Array.from([...hitters, ...recent]).sort() };
  },
};
