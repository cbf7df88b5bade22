import type { DecoderShape } from '@kvlr/core';
import { hasKeyValueHeads, isStockShape } from './describe-layout.ts';

/**
 * What the cache of a model holds, in a word or two. 'stock': ordinary grouped-query attention, which any engine loads. All
 * others run in kvlr's runtime. 'per-layer heads': the same, but another number of KV heads in each layer. 'latent keys':
 * keys encoded after RoPE. 'rebuilt keys': keys encoded before RoPE, which are rebuilt and rotated at every step. 'narrow
 * values': ordinary keys; every head keeps a value of its own, of fewer numbers.
 */
export type LayoutKind = 'stock' | 'per-layer heads' | 'latent keys' | 'rebuilt keys' | 'narrow values';

/** The layout of a model's cache; where it has latent or rebuilt keys in any layer, that is what it is called. */
export function layoutKind(shape: DecoderShape): LayoutKind {
  if (isStockShape(shape)) return 'stock';
  if (shape.layers.some(({ keys }) => keys === 'latent')) return 'latent keys';
  if (shape.layers.some(({ keys }) => keys === 'rebuilt')) return 'rebuilt keys';
  return hasKeyValueHeads(shape) ? 'per-layer heads' : 'narrow values';
}

/** One sentence about what a layout that is not stock means for those who want to run it. */
export const layoutConsequences: Record<Exclude<LayoutKind, 'stock'>, string> = {
  'per-layer heads':
    'Each layer has its own number of KV heads. LlamaForCausalLM of transformers expects one number for all layers and cannot load it; kvlr’s own runtime can, and llama.cpp after kvlr export --gguf (as its architecture deci).',
  'latent keys': 'The keys are cached in a latent space: it runs in kvlr’s own runtime.',
  'rebuilt keys':
    'The cache holds latents from which the keys are rebuilt and rotated at every step: it runs in kvlr’s own runtime.',
  'narrow values':
    'The keys are ordinary; every head caches a narrower value of its own: it runs in kvlr’s own runtime.',
};
