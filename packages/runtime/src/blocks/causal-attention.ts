import {
  add,
  addN,
  concat,
  customGrad,
  type GradSaveFunc,
  matMul,
  mul,
  pad,
  reshape,
  slice,
  softmax,
  sub,
  sum,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';

/** Tokens whose queries are scored together. Smaller blocks skip more of the hidden scores but make smaller products. */
const BLOCK_TOKENS = 128;

/**
 * Causal softmax attention of grouped queries with its gradient written out (the softmax's part as in FlashAttention,
 * Dao et al. 2022, appendix B.2). Queries are taken in blocks of tokens and each block meets only the keys up to its last
 * token, which spares up to half of the work of a full product under a mask.
 *
 * query [N, t, T, D], scaled: N = windows * KV heads, t = query heads per KV head. key and value [N, T, D].
 * mask [T, T] is added to the scores. Returns the attended values [N, t, T, D].
 *
 * Of a block with weights P = softmax(Q K^T + mask), output O = P V and incoming gradient dO:
 *   dV = P^T dO,  dS = P * (dO V^T - rowsum(dO * O)),  dQ = dS K,  dK = dS^T Q.
 */
export function causalAttention(query: Tensor4D, key: Tensor3D, value: Tensor3D, mask: Tensor2D): Tensor4D {
  const blocks = blocksOf(key.shape[1]);
  const operation = customGrad((q, k, v, save) => {
    const weights = blocks.map((block) => blockWeights(q as Tensor4D, k as Tensor3D, mask, block));
    const outputs = weights.map((p, index) => {
      const block = blocks[index]!;
      return byHead(matMul(p, seenBy(v as Tensor3D, block)), block);
    });
    const output = concat(outputs, 2);
    (save as GradSaveFunc)([q as Tensor, k as Tensor, v as Tensor, output, ...weights]);
    return { value: output, gradFunc: (gradient, saved) => gradients(gradient as Tensor4D, saved, blocks) };
  });
  return operation(query, key, value) as Tensor4D;
}

interface Block {
  /** First token whose queries are in the block, and the one after the last. */
  start: number;
  end: number;
}

function blocksOf(tokens: number): Block[] {
  const blocks: Block[] = [];
  for (let start = 0; start < tokens; start += BLOCK_TOKENS) {
    blocks.push({ start, end: Math.min(start + BLOCK_TOKENS, tokens) });
  }
  return blocks;
}

/** The block's rows of x [N, t, T, D], heads after one another: [N, t * (end - start), D]. */
function rowsOf(x: Tensor4D, { start, end }: Block): Tensor3D {
  const [windows, heads, , width] = x.shape;
  const part = slice(x, [0, 0, start, 0], [windows, heads, end - start, width]);
  return reshape(part, [windows, heads * (end - start), width]);
}

/** The inverse view: [N, t * (end - start), D] to [N, t, end - start, D]. */
function byHead(x: Tensor3D, { start, end }: Block): Tensor4D {
  const [windows, rows, width] = x.shape;
  return reshape(x, [windows, rows / (end - start), end - start, width]);
}

/** The keys or values that the block's last token may look at. */
function seenBy(x: Tensor3D, { end }: Block): Tensor3D {
  return end === x.shape[1] ? x : slice(x, [0, 0, 0], [x.shape[0], end, x.shape[2]]);
}

function blockWeights(query: Tensor4D, key: Tensor3D, mask: Tensor2D, block: Block): Tensor3D {
  const scores = byHead(matMul(rowsOf(query, block), seenBy(key, block), false, true), block);
  const hidden = slice(mask, [block.start, 0], [block.end - block.start, block.end]);
  return reshape(softmax(add(scores, hidden)), [query.shape[0], -1, block.end]);
}

function gradients(gradient: Tensor4D, saved: Tensor[], blocks: Block[]): Tensor[] {
  const [query, key, value, output] = saved as [Tensor4D, Tensor3D, Tensor3D, Tensor4D];
  const weights = saved.slice(4) as Tensor3D[];
  const tokens = key.shape[1];
  const toQuery: Tensor4D[] = [];
  const toKey: Tensor3D[] = [];
  const toValue: Tensor3D[] = [];
  blocks.forEach((block, index) => {
    const p = weights[index]!;
    const toOutput = rowsOf(gradient, block);
    const alongOutput = sum(mul(toOutput, rowsOf(output, block)), -1, true);
    const toWeights = matMul(toOutput, seenBy(value, block), false, true);
    const toScores: Tensor3D = mul(p, sub(toWeights, alongOutput));
    toQuery.push(byHead(matMul(toScores, seenBy(key, block)), block));
    toKey.push(upTo(tokens, matMul(toScores, rowsOf(query, block), true)));
    toValue.push(upTo(tokens, matMul(p, toOutput, true)));
  });
  return [concat(toQuery, 2), addN(toKey), addN(toValue)];
}

/** x [N, end, D] with rows of zeros up to [N, tokens, D]. */
function upTo(tokens: number, x: Tensor3D): Tensor3D {
  return pad(x, [
    [0, 0],
    [0, tokens - x.shape[1]],
    [0, 0],
  ]);
}
