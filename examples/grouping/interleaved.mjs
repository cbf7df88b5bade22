/**
 * A grouping strategy of one's own: heads i, i + G, i + 2G, ... share one head.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --grouping ./examples/grouping/interleaved.mjs
 *
 * It is called once per layer with { layer, numKeyValueHeads, wanted, headDim, numAttentionHeads, statistics, weights, cost,
 * measuredCost } and returns `wanted` lists of `numKeyValueHeads / wanted` head indices, every head once. It may be async.
 *
 * @type {import('@kvlr/core').GroupingStrategy}
 */
export default ({ numKeyValueHeads, wanted }) =>
  Array.from({ length: wanted }, (_, group) =>
    Array.from({ length: numKeyValueHeads / wanted }, (_, member) => group + member * wanted),
  );
