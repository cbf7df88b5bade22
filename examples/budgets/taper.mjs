/**
 * A budget of one's own: the first and the last layer keep everything, and the layers between share what is left evenly.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --budget ./examples/budgets/taper.mjs
 *
 * It is called once with { shape, unit, uniform, total, candidates, statistics, weights, lostEnergy, measuredLoss } and
 * returns one of `candidates` for every layer: a number, or { keys, values } where unit is 'ranks'. Keys and values of all
 * layers together come to at most `total`. It may be async, for example to ask `measuredLoss(layer, { keys, values })`.
 *
 * @type {import('@kvlr/core').BudgetPolicy}
 */
export default ({ shape, uniform, total, candidates }) => {
  const everything = candidates.keys.at(-1);
  const inner = shape.numLayers - 2;
  const left = (total - 4 * everything) / (2 * inner);
  const share = candidates.keys.filter((count) => count <= left).at(-1);
  if (share === undefined) return Array(shape.numLayers).fill(uniform.keys);
  return [everything, ...Array(inner).fill(share), everything];
};
