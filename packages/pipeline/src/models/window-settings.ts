import type { CacheDtype } from '@kvlr/core';
import type { LoadModelSettings } from '@kvlr/runtime';

/**
 * How `loadModel` is to run windows: on differentiable ops without a cache, or, with a dtype, on the kernels of generation, where
 * every key and value is read back from a cache of that dtype.
 */
export function windowSettings(cacheDtype: CacheDtype | undefined): Pick<LoadModelSettings, 'weights' | 'cache'> {
  return cacheDtype === undefined ? {} : { weights: 'f32', cache: { dtype: cacheDtype } };
}
