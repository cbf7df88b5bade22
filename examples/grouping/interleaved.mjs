/**
 * A grouping strategy of one's own: heads i, i + G, i + 2G, ... share one head.
 *
 *     kvlr compress CKPT -o OUT --keep 50% --grouping ./examples/grouping/interleaved.mjs
 *
 * It is called once per layer with { layer, heads, groups, headDim, numAttentionHeads, statistics, cost } and returns
 * `groups` lists of `heads / groups` head indices, every head once. It may be async.
 *
 * @type {import('@kvlr/core').GroupingStrategy}
 */
export default ({ heads, groups }) =>
  Array.from({ length: groups }, (_, group) =>
    Array.from({ length: heads / groups }, (_, member) => group + member * groups),
  );
